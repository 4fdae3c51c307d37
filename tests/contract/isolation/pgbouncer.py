"""Debian's PgBouncer in transaction mode, before an embedded Postgres of its own."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg

from app.db import migrate
from app.db.embedded import embedded_postgres
from app.db.embedded.cluster import as_owner_of
from tests.conftest import free_port

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")

# Fewer than the clients, so that they take turns on them.
SERVER_CONNECTIONS = 3

CONFIGURATION = """
[databases]
tracking = host={socket} port={socket_port} dbname=tracking
[pgbouncer]
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 200
server_login_retry = 1
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
admin_users = console
logfile = {folder}/log
"""


@dataclass(frozen=True)
class Pooled:
    """`app_url` goes through the pooler, `owner_url` does not."""

    app_url: str
    owner_url: str
    console_url: str

    def show(self, what: str) -> list[dict[str, Any]]:
        """What the pooler's console tells of its `POOLS`, `SERVERS`, `CLIENTS`, `STATS`."""
        with psycopg.connect(
            self.console_url,
            autocommit=True,
            cursor_factory=psycopg.ClientCursor,
            row_factory=psycopg.rows.dict_row,
        ) as connection:
            return connection.execute(f"SHOW {what}").fetchall()


@contextmanager
def pgbouncer(folder: Path) -> Iterator[Pooled]:
    assert PROGRAM
    with embedded_postgres(folder / "data", settings={"fsync": "off"}) as postgres:
        migrate.upgrade(postgres.owner_url)
        place = {key: one[0] for key, one in parse_qs(urlsplit(postgres.app_url).query).items()}
        port = free_port()
        (folder / "users").write_text('"tracking_app" ""\n"console" ""\n')
        (folder / "log").touch(mode=0o666)
        (folder / "pgbouncer.ini").write_text(
            CONFIGURATION.format(
                socket=place["host"],
                socket_port=place["port"],
                pool_size=SERVER_CONNECTIONS,
                port=port,
                folder=folder,
            )
        )
        process = subprocess.Popen(
            # It does not run as root either.
            [*as_owner_of(folder / "data" / "postgres"), PROGRAM, folder / "pgbouncer.ini"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        pooled = Pooled(
            f"postgresql://tracking_app@127.0.0.1:{port}/tracking",
            postgres.owner_url,
            f"postgresql://console@127.0.0.1:{port}/pgbouncer",
        )
        try:
            _wait(pooled, process, folder / "log")
            yield pooled
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(10)


def _wait(pooled: Pooled, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            psycopg.connect(pooled.app_url).close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PgBouncer did not start:\n{log.read_text()}") from None
            time.sleep(0.05)
