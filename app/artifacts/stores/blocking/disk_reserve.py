"""Disk space that the local store leaves free for other programs, Postgres above all."""

import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from app.kernel.errors import InsufficientStorageError

log = logging.getLogger(__name__)

DEFAULT_BYTES = 1 << 30
_DEFAULT_DIVISOR = 10  # on a small disk, a tenth of it
_LOG_INTERVAL_SECONDS = 60.0


class DiskReserve:
    """Refuses uploads that would use the last `size` bytes of the disk. None stands for 1 GiB, or a
    tenth of the disk where that is less."""

    def __init__(self, folder: Path, size: int | None = None) -> None:
        self._folder = folder
        self._size = size
        self._last_logged = float("-inf")

    def check(self, wanted: int) -> None:
        """Raises InsufficientStorageError where `wanted` more bytes would use some of the reserve.

        One system call, which blocks where the disk does. Where the disk does not answer it, the
        write that follows finds out.
        """
        with suppress(OSError):
            found = self._statvfs()
            size = self._size
            if size is None:
                size = min(DEFAULT_BYTES, found.f_blocks * found.f_frsize // _DEFAULT_DIVISOR)
            free = found.f_bavail * found.f_frsize
            if free - wanted < size:
                self._warn(free, size)
                raise InsufficientStorageError(
                    f"The artifact store has no room for {wanted} bytes"
                    if wanted
                    else "The artifact store is full"
                )

    def _statvfs(self) -> os.statvfs_result:
        try:
            return os.statvfs(self._folder)
        except FileNotFoundError:  # the first upload creates the folder
            return os.statvfs(next(parent for parent in self._folder.parents if parent.exists()))

    def _warn(self, free: int, size: int) -> None:
        """Logs that uploads are refused, at most once a minute."""
        now = time.monotonic()
        if now - self._last_logged > _LOG_INTERVAL_SECONDS:
            self._last_logged = now
            log.warning(
                "uploads are refused: '%s' has %d bytes left on its disk, of which %d are reserved"
                " (TRACKING_DISK_RESERVE_BYTES)",
                self._folder,
                free,
                size,
            )
