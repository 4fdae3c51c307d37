"""Keeps the embedded Postgres running for as long as the service does.

A thread of the owner looks at the postmaster. One that is gone, killed or ended by a full disk, is
started again in the same folder with the same sockets, so that connections made anew find it; what
was committed is there, since it replays its log. Where it can't be started the thread tries for a
while, and then ends the service, which an operator or a supervisor notices.
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
from app.db.embedded.cluster import last_words
from app.db.embedded.postgres import locked, start
from app.db.embedded.server import EmbeddedPostgres, EmbeddedPostgresError, Server

# Seconds.
PATIENCE = 300.0  # until the service ends, for which Postgres has not run well
_INTERVAL = 0.1
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 10.0
_STEADY = 60.0  # what has run for so long runs well

_BALLAST_IS_USED = (
    "the disk is full: the room that was set aside for Postgres is given up; delete something"
)


@contextmanager
def watched_postgres(data_dir: Path, say: Callable[[str], None]) -> Iterator[EmbeddedPostgres]:
    """`embedded_postgres` with a server that is started again when it ends by itself.

    `say` gets a line for whoever runs the service. Sends this process SIGTERM when Postgres can't
    be started again, and raises EmbeddedPostgresError once that has ended the context.
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
    """`failure` is why it gave up."""

    def __init__(self, data_dir: Path, say: Callable[[str], None]) -> None:
        self._data_dir = data_dir
        self._say = say
        self._ballast = Ballast(data_dir)
        self._ballast.give_up_if_needed()
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
            while not self.failure and not self._stopping.wait(_INTERVAL):
                if self._ballast.tend():
                    self._say(_BALLAST_IS_USED)
                if self.server.gone():
                    self._restart()
        except Exception as error:
            self._give_up(f"Postgres is not watched any more: {type(error).__name__}: {error}")
            raise

    def _restart(self) -> None:
        if self._trouble_since is None or time.monotonic() - self._started > _STEADY:
            self._trouble_since = time.monotonic()
            self._pause = _FIRST_PAUSE
            self._said.clear()
        else:  # it was started again, and has ended soon after
            self._stopping.wait(self._lengthened_pause())
        trouble = f"Postgres has ended: {self._why()}"
        self._say_once(f"{trouble}; starting it again")
        while not self._stopping.is_set():
            if time.monotonic() - self._trouble_since > PATIENCE:
                self._give_up(f"Postgres has not run well for {PATIENCE:g} s: {trouble}")
                return
            try:
                if self._ballast.give_up_if_needed():
                    self._say(_BALLAST_IS_USED)
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
        self._pause = min(2 * pause, _LONGEST_PAUSE)
        return pause

    def _why(self) -> str:
        status = self.server.child.returncode if self.server.child else None
        if status is not None and status < 0:
            return f"it was killed by {signal.Signals(-status).name}"
        return last_words(self._data_dir.resolve() / "postgres", self.server.log_begin)

    def _say_once(self, line: str) -> None:
        """Once for each reason; times and process ids in the log's lines make no other one."""
        reason = re.sub(r"\d+", "", line)
        if reason not in self._said:
            self._said.add(reason)
            self._say(line)

    def _give_up(self, failure: str) -> None:
        self.failure = failure
        os.kill(os.getpid(), signal.SIGTERM)
