"""Worker snapshots: each worker's counts in a shared folder, so that /metrics shows all workers.

A scrape reaches one worker, whichever the kernel picks. Each worker therefore writes its snapshot
to the folder once a second, and the worker that is scraped adds the others' to its own.
"""

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from app.observability.worker_metrics import Snapshot

log = logging.getLogger(__name__)

FOLDER = "TRACKING_WORKERS_FOLDER"
"""The environment variable that tells workers the folder. Internal: it is no setting."""

_INTERVAL = 1.0  # seconds


@contextmanager
def snapshot_folder() -> Iterator[None]:
    """Provide the folder for as long as the context lasts, in the process that starts workers."""
    with TemporaryDirectory(prefix="tracking-", ignore_cleanup_errors=True) as folder:
        os.environ[FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER]


class WorkerSnapshots:
    """The shared folder, as one worker uses it. Without a folder there are no other workers."""

    def __init__(self) -> None:
        folder = os.environ.get(FOLDER)
        self._folder = Path(folder) if folder else None
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"

    @asynccontextmanager
    async def published(self, take: Callable[[], Snapshot]) -> AsyncIterator[None]:
        """Write this worker's snapshot every second, and once more at the end."""
        if self._folder is None:
            yield
            return
        task = asyncio.create_task(self._publish(self._folder, take))
        try:
            yield
        finally:
            task.cancel()
            self._write(self._folder, take())

    async def _publish(self, folder: Path, take: Callable[[], Snapshot]) -> None:
        while True:
            self._write(folder, take())
            await asyncio.sleep(_INTERVAL)

    def _write(self, folder: Path, snapshot: Snapshot) -> None:
        unfinished = folder / f".{self._name}"
        try:
            unfinished.write_bytes(msgspec.json.encode(snapshot))
            unfinished.replace(folder / self._name)
        except OSError as error:  # this worker still serves its own counts
            log.warning("cannot share this worker's metrics with the other workers: %s", error)

    def add_others(self, snapshot: Snapshot) -> None:
        """Add the other workers' snapshots: counters of all, gauges of those that still run."""
        if self._folder is None:
            return
        for file in self._folder.glob("[0-9]*"):
            if file.name == self._name:
                continue
            with suppress(FileNotFoundError):
                other = msgspec.json.decode(file.read_bytes(), type=Snapshot)
                if not _is_running(int(file.name.partition("-")[0])):
                    other.gauges.clear()
                snapshot.add(other)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
