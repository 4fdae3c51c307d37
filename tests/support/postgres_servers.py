"""The Postgres servers of the tests: the embedded one, and Debian's PostgreSQL 15, the oldest that
is supported."""

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

from app.db.embedded import embedded_postgres

POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")


@dataclass(frozen=True)
class PostgresServer:
    """The URLs of an empty database: of its owner, of the application role, and of a superuser."""

    owner_url: str
    app_url: str
    superuser_url: str


@contextmanager
def chosen(folder: Path) -> Iterator[PostgresServer]:
    """A server of the kind that the tests run on: PostgreSQL 15 with TRACKING_TEST_POSTGRES=15.

    Its data need not survive a crash of the machine; the tests of durability have their own.
    """
    if os.environ.get("TRACKING_TEST_POSTGRES") == "15":
        with postgres_15() as server:
            yield server
    else:
        with embedded(folder, {"fsync": "off"}) as server:
            yield server


@contextmanager
def embedded(folder: Path, settings: dict[str, str] | None = None) -> Iterator[PostgresServer]:
    with embedded_postgres(folder, settings=settings or {}) as server:
        superuser_url = server.owner_url.replace("//tracking_owner@", "//postgres@")
        yield PostgresServer(server.owner_url, server.app_url, superuser_url)


@contextmanager
def postgres_15() -> Iterator[PostgresServer]:
    """On a free port; where we are root, as an unprivileged user, who can't use pytest's folder."""
    unprivileged = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        cluster = Path(folder, "cluster")
        cluster.mkdir(mode=0o700)
        if unprivileged:
            os.chmod(folder, 0o755)
            shutil.chown(cluster, 65534, 65534)
        subprocess.run(
            [POSTGRES_15 / "initdb", "-D", cluster, "-U", "postgres", "-A", "trust", "-E", "UTF8"],
            check=True,
            stdout=subprocess.DEVNULL,
            **unprivileged,
        )
        options = ["-p", str(port), "-k", "", "-c", "listen_addresses=127.0.0.1", "-F"]
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen(
                [POSTGRES_15 / "postgres", "-D", cluster, *options],
                stdout=log,
                stderr=log,
                **unprivileged,
            )
        try:
            yield _with_roles(f"127.0.0.1:{port}", process)
        finally:
            process.terminate()
            process.wait(30)


def _with_roles(address: str, process: subprocess.Popen[bytes]) -> PostgresServer:
    with _connected(f"postgresql://postgres@{address}/postgres", process) as connection:
        connection.execute("CREATE ROLE tracking_owner LOGIN")
        connection.execute("CREATE ROLE tracking_app LOGIN")
        connection.execute("CREATE DATABASE tracking OWNER tracking_owner")
    roles = ("tracking_owner", "tracking_app", "postgres")
    return PostgresServer(*(f"postgresql://{role}@{address}/tracking" for role in roles))


def _connected(url: str, process: subprocess.Popen[bytes]) -> psycopg.Connection:
    deadline = time.monotonic() + 30
    while True:
        try:
            return psycopg.connect(url, autocommit=True)
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
