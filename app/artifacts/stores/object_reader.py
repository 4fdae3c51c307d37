"""The bytes of an object on their way out of a store."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from app.artifacts.stores.contract import StoredObject
from app.kernel.errors import UnavailableError
from app.kernel.fair_thread_pool import TenantThreadPool, wait_finished

READ_BYTES = 1 << 20  # the longest chunk a reader gives


class Source(Protocol):
    """What a reader reads from. `read` blocks and gives at most `size` bytes, none at the end."""

    def read(self, size: int, /) -> bytes: ...

    def read_cached(self, size: int, /) -> memoryview | None:
        """As `read`, without blocking: what is in memory already. None where nothing is."""

    @property
    def file(self) -> BinaryIO | None:
        """The file that the bytes are read from, if they are."""

    def close(self) -> None: ...


class ObjectReader:
    """The bytes [start, end) of an object, in chunks of at most 1 MiB.

    An async iterator and an async context manager. It is open when `ArtifactStore.open` returns, so
    an answer's headers can be made from it, and sees the content of that moment to the end. The
    next chunk is read while the last one is sent, unless it is in the page cache, where it is had
    for less than a thread's work. Closes itself when iterated to the end; until
    then the caller has to, also if it never iterates. Raises UnavailableError if the store fails
    midway.
    """

    def __init__(
        self,
        threads: TenantThreadPool,
        source: Source | None,
        stored: StoredObject,
        start: int,
        end: int,
    ) -> None:
        self.stored = stored
        self.start = start
        self.end = end
        self._threads = threads
        self._source = source
        self._left = end - start
        self._ahead: memoryview | None = None
        self._reading: asyncio.Future[bytes] | None = None
        self._when_closed: Callable[[], None] | None = None

    @property
    def file(self) -> BinaryIO | None:
        """The open file that has the bytes at [start, end), if it is one."""
        return None if self._source is None else self._source.file

    def when_closed(self, call: Callable[[], None]) -> None:
        """Have something done when the reader is closed; it may be called more than once."""
        self._when_closed = call

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes | memoryview:
        if self._source is None or not self._left:
            await self.aclose()
            raise StopAsyncIteration
        chunk: bytes | memoryview | None = self._ahead
        if chunk is None and self._reading is None:
            chunk = self._source.read_cached(min(READ_BYTES, self._left))
        if chunk is None:
            chunk = await wait_finished(self._reading or self._read(self._source))
        if not chunk:
            raise UnavailableError("The artifact store ended the transfer early")
        self._left -= len(chunk)
        self._ahead = self._reading = None
        if self._left:
            self._ahead = self._source.read_cached(min(READ_BYTES, self._left))
            if self._ahead is None:
                self._reading = self._read(self._source)
        return chunk

    def _read(self, source: Source) -> "asyncio.Future[bytes]":
        return self._threads.start(source.read, min(READ_BYTES, self._left))

    async def aclose(self) -> None:
        """Close the file or the connection; doing so twice is no error."""
        source, self._source = self._source, None
        try:
            if source is not None and self._reading is not None:
                with suppress(Exception):
                    await wait_finished(self._reading)
        finally:
            if source is not None:
                source.close()
            if self._when_closed is not None:
                self._when_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def clamped(start: int, end: int | None, size: int) -> tuple[int, int]:
    """The range of an object that a slice [start, end) of it covers."""
    start = min(start, size)
    return start, size if end is None else max(start, min(end, size))
