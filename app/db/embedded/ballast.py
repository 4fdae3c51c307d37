"""Room on the disk of the embedded Postgres that is kept for when there is no other.

On a disk that is full to the last byte Postgres can neither start nor log that something is
deleted, and nobody could make room. A file takes the place that this needs, and is removed then.
"""

import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from app.kernel.private_files import open_private

log = logging.getLogger(__name__)

# Three segments of the write-ahead log. No more than the reserve that artifacts leave by default
# (`app.artifacts.stores.blocking.disk_reserve`), so that they don't use what is given up.
MOST_BYTES = 48 << 20
_PART = 10  # of a small disk the tenth part
_PLENTY = (
    3  # times its size are left where it is made, so that it is not made and given up in turns
)
_FULL = 4 << 20
_CHUNK = 1 << 20
_PAUSE = 60.0  # seconds until a failed attempt is repeated


class Ballast:
    """The file `ballast` in a data folder. Its owner calls `tend` now and then."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir
        self._path = data_dir / "ballast"
        self._not_before = 0.0

    def tend(self) -> bool:
        """Make the file where there is plenty of room, and give it up on a full disk; whether it
        was given up now."""
        size, free = self._sizes()
        if free < _FULL:
            return self._give_up()
        wanted = free >= _PLENTY * size and time.monotonic() >= self._not_before
        if wanted and not self._path.exists():
            self._make(size)
        return False

    def give_up_if_needed(self) -> bool:
        """Remove the file where there is less room than it takes; whether it was removed now."""
        size, free = self._sizes()
        return free < size and self._give_up()

    def _sizes(self) -> tuple[int, int]:
        """How large the file is to be, and what is free on the disk, in bytes. Where it can't be
        asked: what leaves all as it is."""
        try:
            found = os.statvfs(self._folder)
        except OSError:
            return _FULL, _FULL
        size = min(MOST_BYTES, found.f_blocks * found.f_frsize // _PART)
        return size, found.f_bavail * found.f_frsize

    def _give_up(self) -> bool:
        try:
            self._path.unlink()
        except OSError:  # it is gone already, or its folder is
            return False
        return True

    def _make(self, size: int) -> None:
        try:
            with open(open_private(self._path, os.O_WRONLY), "wb") as file:
                while size:
                    # Random, so that no file system makes it smaller.
                    size -= file.write(os.urandom(min(size, _CHUNK)))
        except OSError as error:
            self._not_before = time.monotonic() + _PAUSE
            with suppress(OSError):
                self._path.unlink()
            log.warning("no room could be set aside in '%s': %s", self._folder, error.strerror)
