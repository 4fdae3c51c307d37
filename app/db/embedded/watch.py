"""Watches the embedded Postgres, and restarts it when it ends.

A thread of the owner checks the postmaster. If it has ended, was killed or stopped at a full disk,
the thread starts it again in the same folder with the same socket, so that new connections find it;
it replays its log, so that what was committed is there. If it cannot be started for some minutes,
the thread stops the service, so that an operator or a supervisor notices.
"""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.db.embedded.ballast import Ballast
from app.db.embedded.cluster import failure_reason
from app.db.embedded.postgres import locked, start
from app.db.embedded.server import EmbeddedPostgres, EmbeddedPostgresError, Server

# In seconds. The service is stopped after so long without a stable server.
MAX_TROUBLE_SECONDS = 300.0
_STABLE_SECONDS = 60.0  # a server that has run for so long is stable
_CHECK_INTERVAL = 0.1
_FIRST_PAUSE = 0.2  # between two attempts to start; doubled each time
_MAX_PAUSE = 10.0

_BALLAST_DELETED = (
    "the disk is full: the space that was reserved for Postgres is now in use; delete something"
)


@contextmanager
def watched_postgres(data_dir: Path, say: Callable[[str], None]) -> Iterator[EmbeddedPostgres]:
    """`embedded_postgres` with a server that is restarted when it ends.

    `say` receives messages for the operator. If Postgres cannot be restarted, this process is sent
    SIGTERM, and EmbeddedPostgresError is raised at the end of the context.
    """
    with locked(data_dir):
        watch = _Watch(data_dir, say)
        try:
            yield watch.server.connection_details()
        finally:
            watch.stop()
            if watch.failure:
                raise EmbeddedPostgresError(watch.failure)


class _Watch:
    """The thread and its server. `failure` is why it has stopped the service; empty otherwise."""

    def __init__(self, data_dir: Path, say: Callable[[str], None]) -> None:
        self._data_dir = data_dir
        self._say = say
        self._ballast = Ballast(data_dir)
        self._ballast.delete_if_needed()
        self._stopping = threading.Event()
        self._started = time.monotonic()
        self._trouble_since: float | None = None
        self._pause = _FIRST_PAUSE
        self._said: set[str] = set()
        self.failure = ""
        self.server: Server = start(data_dir, {})
        self._thread = threading.Thread(target=self._run, name="postgres-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, and then the server."""
        self._stopping.set()
        try:
            self._thread.join()
        finally:
            self.server.stop()

    def _run(self) -> None:
        try:
            while not self.failure and not self._stopping.wait(_CHECK_INTERVAL):
                if self._ballast.maintain():
                    self._say(_BALLAST_DELETED)
                if self.server.has_ended():
                    self._restart()
        except Exception as error:
            self._give_up(f"the watch of Postgres has failed: {type(error).__name__}: {error}")
            raise

    def _restart(self) -> None:
        if self._trouble_since is None or time.monotonic() - self._started > _STABLE_SECONDS:
            self._trouble_since = time.monotonic()
            self._pause = _FIRST_PAUSE
            self._said.clear()
        else:  # it has ended soon after a restart
            self._stopping.wait(self._lengthened_pause())
        trouble = f"Postgres has ended: {self._end_reason()}"
        self._say_once(f"{trouble}; starting it again")
        while not self._stopping.is_set():
            if time.monotonic() - self._trouble_since > MAX_TROUBLE_SECONDS:
                self._give_up(f"Postgres has not run well for {MAX_TROUBLE_SECONDS:g} s: {trouble}")
                return
            try:
                if self._ballast.delete_if_needed():
                    self._say(_BALLAST_DELETED)
                self.server = start(self._data_dir, {}, stopping=self._stopping, again=True)
            except EmbeddedPostgresError as error:
                if not self._stopping.is_set():
                    trouble = str(error)
                    self._say_once(f"{trouble}; trying again")
                    self._stopping.wait(self._lengthened_pause())
            else:
                self._started = time.monotonic()
                self._say_once("Postgres runs again")
                return

    def _lengthened_pause(self) -> float:
        pause = self._pause
        self._pause = min(2 * pause, _MAX_PAUSE)
        return pause

    def _end_reason(self) -> str:
        status = self.server.child.returncode if self.server.child else None
        if status is not None and status < 0:
            return f"it was killed by {signal.Signals(-status).name}"
        return failure_reason(self._data_dir.resolve() / "postgres", self.server.log_begin)

    def _say_once(self, line: str) -> None:
        """Say a line unless it was said before; numbers, as times and process ids, are ignored."""
        reason = re.sub(r"\d+", "", line)
        if reason not in self._said:
            self._said.add(reason)
            self._say(line)

    def _give_up(self, failure: str) -> None:
        self.failure = failure
        os.kill(os.getpid(), signal.SIGTERM)
