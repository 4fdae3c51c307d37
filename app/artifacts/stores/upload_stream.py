"""Bodies on their way into a store: gathered into parts, hashed, and written part by part."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeGuard

from app.artifacts.stores.checksums import Checksums, Digest
from app.artifacts.stores.contract import StoredObject
from app.artifacts.stores.upload_buffers import Buffer, Buffers
from app.kernel.errors import InvalidValueError
from app.kernel.fair_thread_pool import TenantThreadPool, wait_finished

# To hash so much takes no longer than to ask a thread for it, and a body of no more is stored by
# one call to a thread.
SMALL_BYTES = 64 << 10


def is_small(content_length: int | None) -> TypeGuard[int]:
    return content_length is not None and content_length <= SMALL_BYTES


class Upload(Protocol):
    """One object on its way into a store. Its methods block; one runs at a time, but for several
    calls of `write` where `receive` is told so."""

    def write(self, part: memoryview, number: int) -> None:
        """Take the part, the first of which is number 1. Its memory is used again afterwards."""

    def finish(self, sha256: str) -> StoredObject:
        """Make the object visible. The checksum, in hex, is that of all the parts."""

    def abort(self) -> None:
        """Leave nothing of an unfinished upload. Does not raise."""


async def receive(
    threads: TenantThreadPool,
    upload: Upload,
    body: AsyncIterator[bytes],
    *,
    buffers: Buffers,
    content_length: int | None,
    digests: Sequence[Digest] = (),
    parts_at_once: int = 1,
) -> StoredObject:
    """Write the body in parts, each a full buffer but for the last, and finish; abort on any
    failure.

    So many parts are written, and hashed beside that, while the next is gathered. Raises
    InvalidValueError where the body is not what the client declared, UnavailableError where there
    is no memory for it.
    """
    checksums = Checksums(digests)
    head = bytearray()
    received = 0
    async for chunk in body:
        received += len(chunk)
        _check_length(received, content_length, complete=False)
        head += chunk
        # A client that sends no more than that for now holds no buffer.
        if received > SMALL_BYTES:
            break
    else:
        _check_length(received, content_length, complete=True)
        return await _store_small(threads, upload, head, checksums)
    async with buffers:
        parts = _Parts(threads, upload, checksums, buffers, parts_at_once)
        try:
            await parts.add(head)
            del head
            async for chunk in body:
                received += len(chunk)
                _check_length(received, content_length, complete=False)
                await parts.add(chunk)
            _check_length(received, content_length, complete=True)
            await parts.end()
            checksums.check()
            return await threads.run(upload.finish, checksums.sha256)
        except BaseException:
            try:
                await parts.settle()
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
class _Written:
    """A part that is being written, and hashed."""

    buffer: Buffer
    writing: "asyncio.Future[None]"
    hashing: "asyncio.Future[None] | None"


class _Parts:
    """The parts of one body: one is gathered while others are written."""

    def __init__(
        self,
        threads: TenantThreadPool,
        upload: Upload,
        checksums: Checksums,
        buffers: Buffers,
        at_once: int,
    ) -> None:
        self._threads = threads
        self._upload = upload
        self._checksums = checksums
        self._buffers = buffers
        self._at_once = at_once
        self._under_way: deque[_Written] = deque()  # the oldest first
        self._free: list[Buffer] = []
        self._gathering: Buffer | None = None
        self._filled = 0
        self._number = 0

    async def add(self, chunk: bytes | bytearray) -> None:
        """Gather a chunk of the body, and write each part that becomes full."""
        taken = 0
        while taken < len(chunk):
            if self._gathering is None:
                self._gathering = await self._buffer()
            some = min(len(chunk) - taken, self._buffers.size - self._filled)
            # Slices of a chunk that fits are the chunk itself, and no copy.
            self._gathering[self._filled : self._filled + some] = chunk[taken : taken + some]
            self._filled += some
            taken += some
            if self._filled == self._buffers.size:
                await self._write(self._gathering)

    async def end(self) -> None:
        """Write what is gathered, and wait until all is written."""
        if self._gathering is not None:
            await self._write(self._gathering)
        while self._under_way:
            await self._end_oldest()

    async def settle(self) -> None:
        """Wait for what is under way, however it ends."""
        for written in self._under_way:
            for work in (written.writing, written.hashing):
                if work is not None:
                    with suppress(Exception):
                        await wait_finished(work)

    async def _write(self, buffer: Buffer) -> None:
        part = memoryview(buffer)[: self._filled]
        self._gathering, self._filled = None, 0
        if self._under_way and (hashing := self._under_way[-1].hashing) is not None:
            await wait_finished(hashing)
        while len(self._under_way) >= self._at_once:
            await self._end_oldest()
        self._number += 1
        writing = self._threads.start(self._upload.write, part, self._number)
        hashing = None
        if len(part) > SMALL_BYTES:
            hashing = self._threads.start(self._checksums.update, part)
        else:
            self._checksums.update(part)
        self._under_way.append(_Written(buffer, writing, hashing))

    async def _buffer(self) -> Buffer:
        """One to gather the next part in: a new one where there is memory to spare, else the one
        that is free first. What others wait for goes back."""
        if not self._number:
            return await self._buffers.first()
        if not self._free and self._buffers.count <= self._at_once:
            another = self._buffers.another()
            if another is not None:
                return another
        while not self._free or (self._under_way and self._buffers.scarce):
            await self._end_oldest()
        while len(self._free) > 1:
            self._free.pop()
            self._buffers.drop()
        return self._free.pop()

    async def _end_oldest(self) -> None:
        oldest = self._under_way[0]
        for work in (oldest.writing, oldest.hashing):
            if work is not None:
                await wait_finished(work)
        self._under_way.popleft()
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
