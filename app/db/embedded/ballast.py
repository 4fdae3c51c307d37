"""Ballast: a file that reserves disk space for the embedded Postgres.

On a disk without a free byte Postgres can neither start nor log a deletion, so that nobody could
free space. The file is deleted then, to give Postgres the space it needs.
"""

import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from app.kernel.private_files import open_private

log = logging.getLogger(__name__)

# Three segments of the write-ahead log. At most the reserve that artifacts leave free by default
# (`app.artifacts.stores.disk_reserve`), so that artifacts cannot use the space that is released.
MAX_BYTES = 48 << 20
_DISK_FRACTION = 10  # on a small disk, a tenth of it
# The file is created if three times its size is free, so that it is not created and deleted in
# turns.
_CREATE_FACTOR = 3
_FULL_BYTES = 4 << 20  # the disk is full if less is free
_CHUNK = 1 << 20
_RETRY_SECONDS = 60.0


class Ballast:
    """The file `ballast` in a data folder. Call `maintain` periodically."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir
        self._path = data_dir / "ballast"
        self._not_before = 0.0

    def maintain(self) -> bool:
        """Create the file if the disk has enough space, delete it if the disk is full; returns
        whether it was deleted."""
        size, free = self._sizes()
        if free < _FULL_BYTES:
            return self._delete()
        may_create = free >= _CREATE_FACTOR * size and time.monotonic() >= self._not_before
        if may_create and not self._path.exists():
            self._create(size)
        return False

    def delete_if_needed(self) -> bool:
        """Delete the file if less space is free than it takes; returns whether it was deleted."""
        size, free = self._sizes()
        return free < size and self._delete()

    def _sizes(self) -> tuple[int, int]:
        """The file's size and the disk's free space, in bytes. If the disk cannot be queried,
        values for which nothing is done."""
        try:
            found = os.statvfs(self._folder)
        except OSError:
            return _FULL_BYTES, _FULL_BYTES
        size = min(MAX_BYTES, found.f_blocks * found.f_frsize // _DISK_FRACTION)
        return size, found.f_bavail * found.f_frsize

    def _delete(self) -> bool:
        try:
            self._path.unlink()
        except OSError:  # the file or its folder does not exist
            return False
        return True

    def _create(self, size: int) -> None:
        try:
            with open(open_private(self._path, os.O_WRONLY), "wb") as file:
                while size:
                    # Random bytes, which no file system can compress.
                    size -= file.write(os.urandom(min(size, _CHUNK)))
        except OSError as error:
            self._not_before = time.monotonic() + _RETRY_SECONDS
            with suppress(OSError):
                self._path.unlink()
            log.warning(
                "cannot reserve disk space for Postgres in '%s': %s", self._folder, error.strerror
            )
