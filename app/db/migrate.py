"""Migrate by Alembic, and tell whether the schema is the one this code expects.

Migrations are numbered, so that telling takes a look at their files' names: a worker that migrates
nothing does not import Alembic, which would take a tenth of its memory.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import create_engine, inspect, pool, text

from app.db.url import sqlalchemy_url

if TYPE_CHECKING:
    from alembic.config import Config

ROOT = Path(__file__).resolve().parents[2]

State = Literal["current", "behind", "ahead", "empty"]


class MigrationError(Exception):
    """What Alembic refuses to do, in its words."""


def upgrade(url: str, revision: str = "head", *, application_role: str | None = None) -> None:
    """Migrate the database at `url` (the owner's) up to `revision`.

    Raises MigrationError for a revision that there is not.
    """
    from alembic import command
    from alembic.util import CommandError

    try:
        command.upgrade(_config(url, application_role), revision)
    except CommandError as error:
        raise MigrationError(str(error)) from error


def downgrade(url: str, revision: str) -> None:
    """Migrate back down to `revision`; `base` is the empty schema."""
    from alembic import command

    command.downgrade(_config(url), revision)


def revision(url: str, message: str, *, autogenerate: bool = True) -> None:
    """Write a new migration: the difference between the models and the database at `url`."""
    from alembic import command

    command.revision(
        _config(url), message=message, autogenerate=autogenerate, rev_id=f"{int(head()) + 1:04}"
    )


def head() -> str:
    """The revision that this code was written against."""
    return max(_revisions())


def state(url: str) -> State:
    """Where the schema at `url` stands. Raises sqlalchemy.exc.OperationalError if unreachable."""
    engine = create_engine(sqlalchemy_url(url), poolclass=pool.NullPool)
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return "empty"
        current = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return compare(current)


def compare(current: str | None) -> State:
    """The state of a schema whose `alembic_version` says `current`."""
    if current is None:
        return "empty"
    if current == head():
        return "current"
    return "behind" if current in _revisions() else "ahead"


@cache
def _revisions() -> frozenset[str]:
    files = (ROOT / "migrations" / "versions").glob("*.py")
    return frozenset(file.name.partition("_")[0] for file in files)


def _config(url: str | None, application_role: str | None = None) -> "Config":
    from alembic.config import Config

    config = Config(ROOT / "alembic.ini")
    config.attributes["url"] = url
    config.attributes["application_role"] = application_role
    # Called from a program that has its own logging.
    config.attributes["configure_logging"] = False
    return config
