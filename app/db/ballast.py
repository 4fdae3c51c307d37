"""Room on the disk of the embedded Postgres that is kept for when there is no other.

On a disk that is full to the last byte Postgres can neither start nor log that something is
deleted, and nobody could make room. A file takes the place that this needs, and is removed then.
"""

import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from app.private import open_private

log = logging.getLogger(__name__)

SIZE = 48 << 20  # three segments of the write-ahead log
# Made only where so much is left, so that it is not made and given up in turns.
_PLENTY = 3 * SIZE
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
        free = self._free()
        if free < _FULL:
            return self.give_up()
        if free >= _PLENTY and time.monotonic() >= self._not_before and not self._path.exists():
            self._make()
        return False

    def give_up(self) -> bool:
        """Remove the file; whether there was one."""
        try:
            self._path.unlink()
        except OSError:  # it is gone already, or its folder is
            return False
        return True

    def give_up_if_needed(self) -> bool:
        """Remove the file where there is less room than it takes; whether it was removed now."""
        return self._free() < SIZE and self.give_up()

    def _free(self) -> int:
        """In bytes. Where the folder can't be asked: what leaves the file as it is."""
        try:
            found = os.statvfs(self._folder)
        except OSError:
            return SIZE
        return found.f_bavail * found.f_frsize

    def _make(self) -> None:
        try:
            with open(open_private(self._path, os.O_WRONLY), "wb") as file:
                for _ in range(SIZE // _CHUNK):
                    file.write(os.urandom(_CHUNK))  # no file system makes that smaller
        except OSError as error:
            self._not_before = time.monotonic() + _PAUSE
            with suppress(OSError):
                self._path.unlink()
            log.warning("no room could be set aside in '%s': %s", self._folder, error.strerror)
