"""Where the bytes of artifacts lie: one contract, and what its implementations have in common.

A store maps (tenant, key) to bytes and knows nothing of runs or permissions. Keys look like paths,
`experiments/12/runs/…/artifacts/a/b.txt`, and were validated by `app.artifacts.paths`. What a
folder holds is the business of the artifact index, in Postgres.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from types import TracebackType
from typing import ParamSpec, Protocol, Self, TypeVar

import anyio
import anyio.lowlevel

from app.config import Settings
from app.errors import InvalidValueError, UnavailableError

READ_BYTES = 1 << 20  # the longest chunk a reader gives

_KEYS_AT_ONCE = 1000

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """`size` in bytes. `etag` is opaque and unquoted, and changes when the content is replaced.

    `checksum` is the SHA-256 of the content, in hex. It is None where the store did not see the
    content pass in order: for an object found, and for one that was uploaded in parts.
    """

    size: int
    etag: str
    checksum: str | None = field(default=None, compare=False)


class ArtifactStore(ABC):
    """All methods raise UnavailableError when the store can't do its work, and may be cancelled.

    A cancelled method ends only when its thread does, so that nothing goes on behind its back.
    """

    @abstractmethod
    async def put(
        self,
        tenant: str,
        key: str,
        body: AsyncIterator[bytes],
        *,
        content_length: int | None,
        content_type: str,
    ) -> StoredObject:
        """Store `body`, of `content_length` bytes where that is declared.

        The object is visible only when whole; the last whole one wins. If the body raises, the task
        is cancelled, or the length is not the declared one (InvalidValueError), nothing is left and
        an object that was there before stays. ConflictError if `key` is a folder of other keys, or
        goes through an object, and the store can't hold both.
        """

    @abstractmethod
    async def open(
        self, tenant: str, key: str, *, start: int = 0, end: int | None = None
    ) -> "ObjectReader":
        """A reader of the bytes from `start` (not negative) up to and without `end`, cut to the
        object's size as Python's slices are. To be closed by the caller. NotFoundError if there is
        no such object."""

    @abstractmethod
    async def stat(self, tenant: str, key: str) -> StoredObject | None: ...

    @abstractmethod
    async def delete(self, tenant: str, keys: Sequence[str]) -> None:
        """Delete the objects; those that don't exist are no error."""

    @abstractmethod
    def keys(self, tenant: str) -> AsyncIterator[tuple[str, int]]:
        """Every key of the tenant with its size in bytes, in no order."""

    @abstractmethod
    async def check(self) -> None:
        """Raise UnavailableError, saying what to look at, if the store can't be used."""

    @abstractmethod
    async def close(self) -> None:
        """Release threads and connections; the store can't be used any more."""


def artifact_store(settings: Settings) -> ArtifactStore:
    """The store that the settings name. ValueError if they don't make sense together."""
    if not settings.minio_endpoint:
        from app.artifacts.local import LocalStore

        return LocalStore(settings.data_dir / "artifacts")

    # A deployment without S3 never pays for importing its client.
    from app.artifacts.s3 import S3Store

    if not settings.minio_access_key or settings.minio_secret_key is None:
        raise ValueError(
            "TRACKING_MINIO_ENDPOINT needs TRACKING_MINIO_ACCESS_KEY and TRACKING_MINIO_SECRET_KEY"
        )
    return S3Store(
        settings.minio_endpoint,
        settings.minio_access_key,
        settings.minio_secret_key.get_secret_value(),
        secure=settings.minio_secure,
        region=settings.minio_region,
        bucket_prefix=settings.minio_bucket_prefix,
    )


class Threads:
    """The threads in which a store blocks: few, and its own, so that a slow disk or network doesn't
    starve the rest of the process. A thread is held for one piece of work, never while a client
    sends or receives."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="artifacts")

    def start(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[T]":
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._pool, partial(call, *args, **kwargs))

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await finished(self.start(call, *args, **kwargs))

    async def close(self) -> None:
        await asyncio.to_thread(self._pool.shutdown)


async def finished(work: "asyncio.Future[T]") -> T:
    """The result of a thread's work. A cancellation is raised only once the thread is done with the
    file or the connection that the caller will now clean up."""
    cancelled: asyncio.CancelledError | None = None
    # The shield keeps anyio, which repeats a cancellation until it is obeyed, from spinning here.
    with anyio.CancelScope(shield=True):
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError as error:
                cancelled = error
    try:
        if cancelled:
            raise cancelled
        await anyio.lowlevel.checkpoint_if_cancelled()  # what the shield kept away, if anything
    except asyncio.CancelledError:
        work.exception()  # seen, though not raised
        raise
    return work.result()


class Upload(Protocol):
    """One object on its way into a store. Its methods block; one runs at a time."""

    def write(self, part: bytearray) -> None:
        """Take the part, and empty it when it is written: its thread may go on referring to it for
        as long as it takes to gather the next one, which would make three in memory."""

    def finish(self) -> StoredObject:
        """Make the object visible."""

    def abort(self) -> None:
        """Leave nothing of an unfinished upload. Does not raise."""


async def receive(
    threads: Threads, upload: Upload, parts: AsyncGenerator[bytearray, None]
) -> StoredObject:
    """Write every part and finish; abort on any failure. One part is written while the next is
    gathered, so two of them is all the memory that an upload of any size takes."""
    writing: asyncio.Future[None] | None = None
    try:
        async with aclosing(parts):
            async for part in parts:
                if writing is not None:
                    await finished(writing)
                writing = threads.start(upload.write, part)
        if writing is not None:
            await finished(writing)
        return await threads.run(upload.finish)
    except BaseException:
        try:
            if writing is not None:
                with suppress(Exception):
                    await finished(writing)
        finally:
            await threads.run(upload.abort)
        raise


async def in_parts(
    body: AsyncIterator[bytes], part_bytes: int, content_length: int | None
) -> AsyncGenerator[bytearray, None]:
    """The body in parts of exactly `part_bytes`, but for the last; none for an empty body.

    Each part is the receiver's to keep. InvalidValueError if the body's length is not the declared
    one: before the last part is given, or as soon as there is too much.
    """
    part = bytearray()
    received = 0
    async for chunk in body:
        received += len(chunk)
        if content_length is not None and received > content_length:
            raise _wrong_length(f"more than the {content_length}")
        rest = memoryview(chunk)
        while len(part) + len(rest) >= part_bytes:
            room = part_bytes - len(part)
            part += rest[:room]
            rest = rest[room:]
            yield part
            part = bytearray()
        part += rest
    if content_length is not None and received != content_length:
        raise _wrong_length(f"{received} of the {content_length}")
    if part:
        yield part


def _wrong_length(counted: str) -> InvalidValueError:
    return InvalidValueError(
        f"The request body has {counted} bytes that its Content-Length declares",
        field="Content-Length",
    )


class Source(Protocol):
    """What a reader reads from. `read` blocks and gives at most `size` bytes, none at the end."""

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


class ObjectReader:
    """The bytes [start, end) of an object, in chunks of at most 1 MiB.

    An async iterator and an async context manager. It is open when `ArtifactStore.open` returns, so
    an answer's headers can be made from it, and sees the content of that moment to the end. Closes
    itself when iterated to the end; until then the caller has to, also if it never iterates. Raises
    UnavailableError if the store fails midway.
    """

    def __init__(
        self, threads: Threads, source: Source | None, stored: StoredObject, start: int, end: int
    ) -> None:
        self.stored = stored
        self.start = start
        self.end = end
        self._threads = threads
        self._source = source
        self._left = end - start

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._source is None or not self._left:
            await self.aclose()
            raise StopAsyncIteration
        chunk = await self._threads.run(self._source.read, min(READ_BYTES, self._left))
        if not chunk:
            raise UnavailableError("The artifact store ended the transfer early")
        self._left -= len(chunk)
        return chunk

    async def aclose(self) -> None:
        """Close the file or the connection; doing so twice is no error."""
        source, self._source = self._source, None
        if source is not None:
            source.close()

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


async def batched(threads: Threads, items: Iterator[T]) -> AsyncIterator[T]:
    """What a blocking iterator gives, with one hop to a thread for a thousand items."""
    while batch := await threads.run(lambda: list(islice(items, _KEYS_AT_ONCE))):
        for item in batch:
            yield item
