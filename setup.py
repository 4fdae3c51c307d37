"""The packages of the distribution; pyproject.toml has all else.

`migrations/` lies at the top of the repository, where `alembic` looks for it. An installed package
has it as `app/migrations`, which pyproject.toml cannot say beside finding packages.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["app", "app.*"]),
        "app.migrations",
        "app.migrations.versions",
    ],
    package_dir={"app.migrations": "migrations"},
)
