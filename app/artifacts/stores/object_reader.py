"""Async reader of an object's bytes, with read-ahead in a thread."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from app.artifacts.stores.values import StoredObject
from app.kernel.errors import UnavailableError
from app.kernel.fair_thread_pool import TenantThreadPool, wait_finished

READ_BYTES = 1 << 20  # the longest chunk that a reader yields


class Source(Protocol):
    """What a reader reads from. `read` blocks; it returns at most `size` bytes, none at the end."""

    def read(self, size: int, /) -> bytes: ...

    def read_cached(self, size: int, /) -> memoryview | None:
        """As `read`, without blocking: bytes that are in memory already; None where none are."""

    @property
    def file(self) -> BinaryIO | None:
        """The file that the bytes are read from; None where they come from elsewhere."""

    def close(self) -> None: ...


class ObjectReader:
    """The bytes [start, end) of an object, in chunks of at most 1 MiB.

    An async iterator and an async context manager. It is open when `ArtifactStore.open` returns, so
    a response's headers can be made from it, and it reads the content of that moment to the end.
    While one chunk is sent, a thread reads the next, unless that is in the page cache: then it is
    read at once, without a thread. The reader closes itself when iterated to the end; a caller that
    stops earlier, or never iterates, has to close it. Raises UnavailableError where the store fails
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
        self._next_chunk: memoryview | None = None
        self._reading: asyncio.Future[bytes] | None = None
        self._on_close: Callable[[], None] | None = None

    @property
    def file(self) -> BinaryIO | None:
        """The open file whose bytes [start, end) these are; None where the source is no file."""
        return None if self._source is None else self._source.file

    def on_close(self, call: Callable[[], None]) -> None:
        """Sets a callback for when the reader is closed; it may be called more than once."""
        self._on_close = call

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes | memoryview:
        if self._source is None or not self._left:
            await self.aclose()
            raise StopAsyncIteration
        chunk: bytes | memoryview | None = self._next_chunk
        if chunk is None and self._reading is None:
            chunk = self._source.read_cached(min(READ_BYTES, self._left))
        if chunk is None:
            chunk = await wait_finished(self._reading or self._read(self._source))
        if not chunk:
            raise UnavailableError("The artifact store ended the transfer early")
        self._left -= len(chunk)
        self._next_chunk = self._reading = None
        if self._left:
            self._next_chunk = self._source.read_cached(min(READ_BYTES, self._left))
            if self._next_chunk is None:
                self._reading = self._read(self._source)
        return chunk

    def _read(self, source: Source) -> "asyncio.Future[bytes]":
        return self._threads.start(source.read, min(READ_BYTES, self._left))

    async def aclose(self) -> None:
        """Closes the file or the connection; closing twice is no error."""
        source, self._source = self._source, None
        try:
            if source is not None and self._reading is not None:
                with suppress(Exception):
                    await wait_finished(self._reading)
        finally:
            if source is not None:
                source.close()
            if self._on_close is not None:
                self._on_close()

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
    """The slice [start, end) of an object of `size` bytes, cut to that size."""
    start = min(start, size)
    return start, size if end is None else max(start, min(end, size))
