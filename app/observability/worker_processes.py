"""Worker processes: their common counts, and their end with the process that started them.

A scrape of /metrics reaches one worker, whichever the kernel picks. So each leaves what it has
counted in a folder of all of them, every second, and the one that is asked adds the others' to its
own.
"""

import asyncio
import logging
import os
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from multiprocessing import parent_process
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from app.observability.worker_metrics import Snapshot

log = logging.getLogger(__name__)

FOLDER = "TRACKING_WORKERS_FOLDER"
"""Where the folder is, for the workers: a variable of their environment that is no setting."""

_PAUSE = 1.0  # seconds


@contextmanager
def common_folder() -> Iterator[None]:
    """For the process that starts workers: the folder, for as long as they run."""
    with TemporaryDirectory(prefix="tracking-", ignore_cleanup_errors=True) as folder:
        os.environ[FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER]


class OtherWorkers:
    """The other workers, as one of them sees them; none where there is no common folder."""

    def __init__(self) -> None:
        folder = os.environ.get(FOLDER)
        self._folder = Path(folder) if folder else None
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"

    @asynccontextmanager
    async def told(self, count: Callable[[], Snapshot]) -> AsyncIterator[None]:
        """Tell them every second, and a last time at the end."""
        if self._folder is None:
            yield
            return
        task = asyncio.create_task(self._tell(self._folder, count))
        try:
            yield
        finally:
            task.cancel()
            self._write(self._folder, count())

    async def _tell(self, folder: Path, count: Callable[[], Snapshot]) -> None:
        while True:
            self._write(folder, count())
            await asyncio.sleep(_PAUSE)

    def _write(self, folder: Path, counted: Snapshot) -> None:
        unfinished = folder / f".{self._name}"
        try:
            unfinished.write_bytes(msgspec.json.encode(counted))
            unfinished.replace(folder / self._name)
        except OSError as error:  # what is counted here is served all the same
            log.warning("cannot tell the other workers what was counted: %s", error)

    def add_to(self, counted: Snapshot) -> None:
        """Add what the others have told. What ended workers answered still counts; what they held
        is gone with them."""
        if self._folder is None:
            return
        for file in self._folder.glob("[0-9]*"):
            if file.name == self._name:
                continue
            with suppress(FileNotFoundError):
                other = msgspec.json.decode(file.read_bytes(), type=Snapshot)
                if not _alive(int(file.name.partition("-")[0])):
                    other.levels.clear()
                counted.add(other)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def ended_with_parent() -> Iterator[None]:
    """End this worker, gracefully, when the process that started it is gone.

    That process ends its workers when it is told to stop. Killed with SIGKILL it cannot, and they
    would hold the port. The pipe that multiprocessing keeps between both has its end then.
    """
    parent = parent_process()
    if parent is None:
        yield
        return
    loop = asyncio.get_running_loop()
    sentinel = parent.sentinel

    def stop() -> None:
        loop.remove_reader(sentinel)
        log.warning("the parent process is gone; stopping")
        signal.raise_signal(signal.SIGTERM)

    loop.add_reader(sentinel, stop)
    try:
        yield
    finally:
        loop.remove_reader(sentinel)
