"""A Postgres of a test's own, which the test may kill and start again."""

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg

from app.db import migrate
from app.db.embedded import EmbeddedPostgres, EmbeddedPostgresError, embedded_postgres


class Killable:
    """The embedded server, with fsync on. Its URLs stay the same when it is started again."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._stack = ExitStack()
        self.server = self._started()

    def __enter__(self) -> "Killable":
        migrate.upgrade(self.server.owner_url)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def kill(self) -> None:
        """Kill the postmaster as the kernel does when memory runs out; the rest then ends."""
        os.kill(self.server.pid, signal.SIGKILL)
        self._stack.close()

    def start(self) -> None:
        """Start it anew: it replays its log first."""
        self.server = self._started()

    def end_all_connections(self) -> int:
        """As a fail-over or an idle time limit does; how many there were. They are gone then."""
        superuser = self.server.owner_url.replace("//tracking_owner@", "//postgres@")
        with psycopg.connect(superuser) as connection:
            ended = connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE usename = 'tracking_app'"
            )
            return len(ended.fetchall())

    def _started(self) -> EmbeddedPostgres:
        deadline = time.monotonic() + 20
        while True:
            try:
                return self._stack.enter_context(embedded_postgres(self._data_dir))
            except EmbeddedPostgresError:
                # What the killed one left behind takes a moment to end.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
