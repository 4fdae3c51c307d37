"""The wheel, as an operator has it: installed without a checkout, it migrates and serves."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tomllib
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

import pytest

from app.db import migrate
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCES = ("app", "migrations", "docs", "examples")
FILES = (
    "setup.py",
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "alembic.ini",
    "constraints.txt",
    ".env.example",
)
NO_CACHES = shutil.ignore_patterns("__pycache__")


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sdist, and of the wheel that was built from it."""
    source = tmp_path_factory.mktemp("source")  # builds leave files behind
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=NO_CACHES)
    for name in FILES:
        shutil.copy(ROOT / name, source)
    # Isolated, it would download setuptools.
    build = [sys.executable, "-m", "build", "--no-isolation", str(source)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return source / "dist"


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    (found,) = distributions.glob("*.whl")
    return found


@dataclass(frozen=True)
class Installed:
    """An environment that has the wheel, and an empty folder to run it in."""

    python: Path
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TRACKING_", "PYTHON", "VIRTUAL_ENV"))
        }
        return kept | {"TRACKING_LOG_FORMAT": "text", "TRACKING_PORT": "0"}

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """`tracking` with these arguments, in the folder."""
        return subprocess.run(
            [self.python.with_name("tracking"), *command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    @contextmanager
    def serving(self) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
        """`tracking serve` once it is ready; yields its URL."""
        with subprocess.Popen(
            [self.python.with_name("tracking"), "serve"],
            cwd=self.folder,
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            try:
                lines = []
                for line in process.stderr:
                    lines.append(line)
                    if found := re.search(r"ready on (http://\S+)", line):
                        yield found[1], process
                        return
                raise AssertionError("".join(lines))
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=30)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel alone, in an environment that has the dependencies of this one."""
    root = tmp_path_factory.mktemp("installed") / "a folder"
    environment = root / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    # Only their folders: a .pth file in one, such as that of an editable install, is not read.
    (packages / "dependencies.pth").write_text(
        "".join(f"{path}\n" for path in sys.path if Path(path).name.endswith("-packages"))
    )
    folder = root / "empty"
    folder.mkdir()
    return Installed(python, folder)


class TestContents:
    def test_has_every_file_of_the_code(self, wheel: Path) -> None:
        expected = {
            (Path("app") / place / path.relative_to(ROOT / source)).as_posix()
            for source, place in (("app", ""), ("migrations", "migrations"))
            for path in (ROOT / source).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        with zipfile.ZipFile(wheel) as archive:
            found = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert found == expected
        assert {"app/py.typed", "app/migrations/env.py", "app/migrations/script.py.mako"} <= found

    def test_says_what_it_is(self, wheel: Path) -> None:
        name = f"{PROJECT['name']}-{PROJECT['version']}"
        assert wheel.name == f"{name}-py3-none-any.whl"
        with zipfile.ZipFile(wheel) as archive:
            said = HeaderParser().parsestr(archive.read(f"{name}.dist-info/METADATA").decode())
        assert (said["Name"], said["Version"]) == (PROJECT["name"], PROJECT["version"])
        assert said["Requires-Python"] == PROJECT["requires-python"]
        assert "embedded" in said.get_all("Provides-Extra", [])

    def test_the_sdist_has_what_the_wheel_is_built_from(self, distributions: Path) -> None:
        (sdist,) = distributions.glob("*.tar.gz")
        with tarfile.open(sdist) as archive:
            found = {name.partition("/")[2] for name in archive.getnames()}
        assert found >= {*FILES, "docs/operations.md", "migrations/script.py.mako", "app/py.typed"}
        assert not [name for name in found if name.startswith(("tests", "build", ".venv"))]


class TestInstalled:
    def test_is_no_checkout(self, installed: Installed) -> None:
        shown = subprocess.run(
            [installed.python, "-c", "import app; print(app.__file__)"],
            cwd=installed.folder,
            env=installed.environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert Path(shown.strip()).is_relative_to(installed.python.parents[1])
        assert installed.run("version").stdout == f"{PROJECT['version']}\n"

    def test_serves_in_an_empty_folder(self, installed: Installed) -> None:
        with installed.serving() as (url, process):

            def post(path: str, **body: object) -> dict[str, str]:
                request = urllib.request.Request(
                    f"{url}/api/v1/experiments{path}",
                    json.dumps(body).encode(),
                    {"Content-Type": "application/json"},
                )
                with urllib.request.urlopen(request, timeout=30) as answer:
                    found: dict[str, str] = json.load(answer)
                return found

            experiment = post("", name="first")
            run = post("/runs", experiment_id=experiment["id"])
            post(f"/runs/{run['id']}/log-metrics", metrics={"loss": 0.5}, step=1)
            history = f"{url}/api/v1/experiments/runs/{run['id']}/metrics/loss"
            with urllib.request.urlopen(history, timeout=30) as answer:
                assert '"value":0.5' in answer.read().decode()
            with urllib.request.urlopen(f"{url}/docs", timeout=30) as page:
                assert page.status == 200
        assert process.returncode == 0
        assert [path.name for path in installed.folder.iterdir()] == [".data"]

    def test_migrates_and_goes_back(self, installed: Installed) -> None:
        done = [
            installed.run(*command)
            for command in (("migrate",), ("downgrade", "base"), ("migrate", "--to", "0003"))
        ]
        assert [one.returncode for one in done] == [0, 0, 0], done
        assert "the schema is behind" in done[-1].stderr
        assert installed.run("downgrade", "no-such").stderr.startswith("tracking: cannot migrate: ")
        assert installed.run("migrate").stderr.splitlines()[-1] == "tracking: the schema is current"

    def test_writes_no_migrations(self, installed: Installed) -> None:
        refused = installed.run("revision", "add a column")
        assert refused.returncode == 1
        assert refused.stderr == (
            "tracking: a migration is written in a checkout of the source, and this is none\n"
        )


def test_a_checkout_has_its_own_migrations() -> None:
    assert migrate.folder() == ROOT / "migrations"
    assert migrate.checkout() == ROOT / "alembic.ini"
