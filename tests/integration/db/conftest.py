"""Empty databases on the oldest Postgres that is supported and on the embedded one."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from app.db.embedded import embedded_postgres

POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")


@dataclass(frozen=True)
class EmptyDatabase:
    """The URLs of the owner, who may create anything in it, of the application role, and of a
    superuser."""

    owner_url: str
    app_url: str
    superuser_url: str


@pytest.fixture(scope="module", params=["embedded", "postgres-15"])
def empty_database(request: pytest.FixtureRequest) -> Iterator[EmptyDatabase]:
    """Each test leaves it as empty as it found it."""
    with tempfile.TemporaryDirectory() as folder:
        if request.param == "embedded":
            with embedded_postgres(Path(folder)) as server:
                superuser = server.owner_url.replace("//tracking_owner@", "//postgres@")
                yield EmptyDatabase(server.owner_url, server.app_url, superuser)
        else:
            if not (POSTGRES_15 / "postgres").exists():
                pytest.skip("PostgreSQL 15 is not installed (Debian: postgresql-15)")
            with _debian_postgres(Path(folder)) as url:
                yield _with_roles(url)


def _with_roles(superuser_url: str) -> EmptyDatabase:
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE tracking_owner LOGIN")
        connection.execute("CREATE ROLE tracking_app LOGIN")
        connection.execute("CREATE DATABASE tracking OWNER tracking_owner")
    base = superuser_url.removesuffix("/postgres").partition("@")[2]
    roles = ("tracking_owner", "tracking_app", "postgres")
    return EmptyDatabase(*(f"postgresql://{role}@{base}/tracking" for role in roles))


@contextmanager
def _debian_postgres(folder: Path) -> Iterator[str]:
    """Debian's PostgreSQL 15 on a free port, as an unprivileged user where we are root."""
    unprivileged = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
    cluster = folder / "cluster"
    cluster.mkdir(mode=0o700)
    if unprivileged:
        folder.chmod(0o755)
        shutil.chown(cluster, 65534, 65534)
    subprocess.run(
        [POSTGRES_15 / "initdb", "-D", cluster, "-U", "postgres", "-A", "trust", "-E", "UTF8"],
        check=True,
        stdout=subprocess.DEVNULL,
        **unprivileged,
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["-p", str(port), "-k", "", "-c", "listen_addresses=127.0.0.1", "-F"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [POSTGRES_15 / "postgres", "-D", cluster, *options],
            stdout=log,
            stderr=log,
            **unprivileged,
        )
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        _wait(url, server)
        yield url
    finally:
        server.terminate()
        server.wait(30)


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
