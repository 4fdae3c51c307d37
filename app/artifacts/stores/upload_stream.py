"""Writes an upload's body to a store: filled into parts, hashed, and written part by part."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeGuard

from app.artifacts.stores.checksums import Checksums, Digest
from app.artifacts.stores.upload_buffers import Buffer, Buffers
from app.artifacts.stores.values import StoredObject
from app.kernel.errors import InvalidValueError
from app.kernel.fair_thread_pool import TenantThreadPool, wait_finished

# Hashing so few bytes takes no longer than a call to a thread. A body of at most this size is
# stored by one call to a thread.
SMALL_BYTES = 64 << 10


def is_small(content_length: int | None) -> TypeGuard[int]:
    """Whether the body is declared to be small enough for one call to a thread."""
    return content_length is not None and content_length <= SMALL_BYTES


class Upload(Protocol):
    """One object that is being stored. Its methods block. One of them runs at a time, except that
    `concurrent_parts` calls of `write` may run together."""

    def write(self, part: memoryview, number: int) -> None:
        """Writes a part; the first has the number 1. The buffer is reused after the call."""

    def finish(self, sha256: str) -> StoredObject:
        """Makes the object visible. `sha256`, in hex, is that of the whole body."""

    def abort(self) -> None:
        """Deletes an unfinished upload. Does not raise."""


async def write_body(
    threads: TenantThreadPool,
    upload: Upload,
    body: AsyncIterator[bytes],
    *,
    buffers: Buffers,
    content_length: int | None,
    digests: Sequence[Digest] = (),
    concurrent_parts: int = 1,
) -> StoredObject:
    """Writes the body in parts, each a full buffer except the last, and finishes the upload; aborts
    it on any failure.

    Up to `concurrent_parts` parts are written and hashed while the next one is filled. Raises
    InvalidValueError where the body differs from what the client declared, UnavailableError where
    there is no memory for it.
    """
    checksums = Checksums(digests)
    head = bytearray()
    received = 0
    async for chunk in body:
        received += len(chunk)
        _check_length(received, content_length, complete=False)
        head += chunk
        # A client that has sent no more than this holds no buffer.
        if received > SMALL_BYTES:
            break
    else:
        _check_length(received, content_length, complete=True)
        return await _store_small(threads, upload, head, checksums)
    async with buffers:
        parts = _PartWriter(threads, upload, checksums, buffers, concurrent_parts)
        try:
            await parts.add(head)
            del head
            async for chunk in body:
                received += len(chunk)
                _check_length(received, content_length, complete=False)
                await parts.add(chunk)
            _check_length(received, content_length, complete=True)
            await parts.flush()
            checksums.check()
            return await threads.run(upload.finish, checksums.sha256)
        except BaseException:
            try:
                await parts.wait_all()
            finally:
                await threads.run(upload.abort)
            raise


async def _store_small(
    threads: TenantThreadPool, upload: Upload, whole: bytearray, checksums: Checksums
) -> StoredObject:
    checksums.update(memoryview(whole))
    checksums.check()

    def store() -> StoredObject:
        try:
            if whole:
                upload.write(memoryview(whole), 1)
            return upload.finish(checksums.sha256)
        except BaseException:
            upload.abort()
            raise

    return await threads.run(store)


@dataclass(frozen=True, slots=True)
class _PendingPart:
    """A part that is being written and hashed."""

    buffer: Buffer
    writing: "asyncio.Future[None]"
    hashing: "asyncio.Future[None] | None"


class _PartWriter:
    """Fills the parts of one body, and writes full ones while it fills the next."""

    def __init__(
        self,
        threads: TenantThreadPool,
        upload: Upload,
        checksums: Checksums,
        buffers: Buffers,
        concurrent_parts: int,
    ) -> None:
        self._threads = threads
        self._upload = upload
        self._checksums = checksums
        self._buffers = buffers
        self._concurrent_parts = concurrent_parts
        self._pending: deque[_PendingPart] = deque()  # oldest first
        self._free: list[Buffer] = []
        self._current: Buffer | None = None
        self._filled = 0
        self._number = 0

    async def add(self, chunk: bytes | bytearray) -> None:
        """Adds a chunk of the body, and starts to write each part that becomes full."""
        taken = 0
        while taken < len(chunk):
            if self._current is None:
                self._current = await self._next_buffer()
            count = min(len(chunk) - taken, self._buffers.size - self._filled)
            # Where the whole chunk fits, the slice is the chunk itself, not a copy.
            self._current[self._filled : self._filled + count] = chunk[taken : taken + count]
            self._filled += count
            taken += count
            if self._filled == self._buffers.size:
                await self._write(self._current)

    async def flush(self) -> None:
        """Writes the last part, and waits until all parts are written."""
        if self._current is not None:
            await self._write(self._current)
        while self._pending:
            await self._wait_for_oldest()

    async def wait_all(self) -> None:
        """Waits for the pending parts, whether they succeed or fail."""
        for part in self._pending:
            for work in (part.writing, part.hashing):
                if work is not None:
                    with suppress(Exception):
                        await wait_finished(work)

    async def _write(self, buffer: Buffer) -> None:
        part = memoryview(buffer)[: self._filled]
        self._current, self._filled = None, 0
        if self._pending and (hashing := self._pending[-1].hashing) is not None:
            await wait_finished(hashing)
        while len(self._pending) >= self._concurrent_parts:
            await self._wait_for_oldest()
        self._number += 1
        writing = self._threads.start(self._upload.write, part, self._number)
        hashing = None
        if len(part) > SMALL_BYTES:
            hashing = self._threads.start(self._checksums.update, part)
        else:
            self._checksums.update(part)
        self._pending.append(_PendingPart(buffer, writing, hashing))

    async def _next_buffer(self) -> Buffer:
        """A buffer for the next part: a new one where there is spare memory, else the first that
        becomes free. Buffers that other uploads wait for are released."""
        if not self._number:
            return await self._buffers.first()
        if not self._free and self._buffers.count <= self._concurrent_parts:
            another = self._buffers.another()
            if another is not None:
                return another
        while not self._free or (self._pending and self._buffers.scarce):
            await self._wait_for_oldest()
        while len(self._free) > 1:
            self._free.pop()
            self._buffers.drop()
        return self._free.pop()

    async def _wait_for_oldest(self) -> None:
        oldest = self._pending[0]
        for work in (oldest.writing, oldest.hashing):
            if work is not None:
                await wait_finished(work)
        self._pending.popleft()
        self._free.append(oldest.buffer)


def _check_length(received: int, content_length: int | None, *, complete: bool) -> None:
    if content_length is None or received == content_length:
        return
    if received > content_length:
        counted = f"more than the {content_length}"
    elif complete:
        counted = f"{received} of the {content_length}"
    else:
        return
    raise InvalidValueError(
        f"The request body has {counted} bytes that its Content-Length declares",
        field="Content-Length",
    )
