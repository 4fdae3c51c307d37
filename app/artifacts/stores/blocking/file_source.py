"""Reads a file of the local store, as `app.artifacts.stores.object_reader` asks for it."""

import os
from typing import BinaryIO


class FileSource:
    """A file's bytes from its current position on."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def read(self, size: int, /) -> bytes:
        return self.file.read(size)

    def read_cached(self, size: int, /) -> memoryview | None:
        if not hasattr(os, "RWF_NOWAIT"):  # not every system has it
            return None
        buffer = bytearray(size)
        try:
            count = os.preadv(self.file.fileno(), [buffer], self.file.tell(), os.RWF_NOWAIT)
        except OSError:  # an error of the disk itself occurs again in `read`, which raises it
            return None
        self.file.seek(count, os.SEEK_CUR)
        return memoryview(buffer)[:count] if count else None

    def close(self) -> None:
        self.file.close()
