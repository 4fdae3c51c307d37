"""The part of its disk that the local store leaves alone, for whoever else needs it: Postgres."""

import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from app.kernel.errors import InsufficientStorageError

log = logging.getLogger(__name__)

DEFAULT_BYTES = 1 << 30
_DEFAULT_PART = 10  # of a small disk the tenth part
_SECONDS_BETWEEN_LINES = 60.0


class DiskReserve:
    """`size` is in bytes; None for 1 GiB, or a tenth of the disk where that is less."""

    def __init__(self, folder: Path, size: int | None = None) -> None:
        self._folder = folder
        self._size = size
        self._told = float("-inf")

    def check(self, wanted: int) -> None:
        """Raise InsufficientStorageError unless so many bytes leave the reserve untouched.

        One system call, which blocks where the disk does. A disk that can't be asked is left to
        what is written next.
        """
        with suppress(OSError):
            found = self._asked()
            size = self._size
            if size is None:
                size = min(DEFAULT_BYTES, found.f_blocks * found.f_frsize // _DEFAULT_PART)
            free = found.f_bavail * found.f_frsize
            if free - wanted < size:
                self._tell(free, size)
                raise InsufficientStorageError(
                    f"The artifact store has no room for {wanted} bytes"
                    if wanted
                    else "The artifact store is full"
                )

    def _asked(self) -> os.statvfs_result:
        try:
            return os.statvfs(self._folder)
        except FileNotFoundError:  # it is made by the first upload
            return os.statvfs(next(one for one in self._folder.parents if one.exists()))

    def _tell(self, free: int, size: int) -> None:
        """The operator, and not once for each upload that is refused."""
        now = time.monotonic()
        if now - self._told > _SECONDS_BETWEEN_LINES:
            self._told = now
            log.warning(
                "uploads are refused: '%s' has %d bytes left on its disk, of which %d are reserved"
                " (TRACKING_DISK_RESERVE_BYTES)",
                self._folder,
                free,
                size,
            )
