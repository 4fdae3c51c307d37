"""Bodies on their way into a store: gathered into parts, hashed, and written part by part."""

import asyncio
import mmap
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from typing import Protocol, TypeGuard

from app.artifacts.checksums import Checksums, Digest
from app.artifacts.store import StoredObject
from app.errors import InvalidValueError
from app.threads import Threads, finished

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
    threads: Threads,
    upload: Upload,
    body: AsyncIterator[bytes],
    *,
    part_bytes: int,
    content_length: int | None,
    digests: Sequence[Digest] = (),
    parts_at_once: int = 1,
) -> StoredObject:
    """Write the body in parts and finish; abort on any failure.

    So many parts are written, and hashed beside that, while the next is gathered: with that one
    they are all the memory that an upload of any size takes. Raises InvalidValueError where the
    body is not what the client declared.
    """
    if is_small(content_length):
        return await _receive_small(threads, upload, body, content_length, digests)
    checksums = Checksums(digests)
    hashing: asyncio.Future[None] | None = None
    writing: deque[asyncio.Future[None]] = deque()
    try:
        async with aclosing(in_parts(body, part_bytes, content_length, parts_at_once + 1)) as parts:
            number = 0
            async for part in parts:
                number += 1
                if hashing is not None:
                    await finished(hashing)
                    hashing = None
                if len(writing) == parts_at_once:
                    await finished(writing.popleft())
                writing.append(threads.start(upload.write, part, number))
                if len(part) > SMALL_BYTES:
                    hashing = threads.start(checksums.update, part)
                else:
                    checksums.update(part)
        if hashing is not None:
            await finished(hashing)
        while writing:
            await finished(writing.popleft())
        checksums.check()
        return await threads.run(upload.finish, checksums.sha256)
    except BaseException:
        try:
            for work in (hashing, *writing):
                if work is not None:
                    with suppress(Exception):
                        await finished(work)
        finally:
            await threads.run(upload.abort)
        raise


async def _receive_small(
    threads: Threads,
    upload: Upload,
    body: AsyncIterator[bytes],
    content_length: int,
    digests: Sequence[Digest],
) -> StoredObject:
    whole = b""
    async for chunk in body:
        whole = whole + chunk if whole else chunk
        _check_length(len(whole), content_length, complete=False)
    _check_length(len(whole), content_length, complete=True)
    checksums = Checksums(digests)
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


async def in_parts(
    body: AsyncIterator[bytes], part_bytes: int, content_length: int | None, buffers: int
) -> AsyncGenerator[memoryview, None]:
    """The body in parts of exactly `part_bytes`, but for the last; none for an empty body.

    So many buffers take turns: a part is there until as many more were asked for. InvalidValueError
    if the body's length is not the declared one: before the last part is given, or as soon as there
    is too much.
    """
    room = part_bytes if content_length is None else min(part_bytes, content_length)
    buffer, given = _buffer(room), deque[bytearray | mmap.mmap]()
    filled = received = 0
    async for chunk in body:
        received += len(chunk)
        _check_length(received, content_length, complete=False)
        taken = 0
        while taken < len(chunk):
            some = min(len(chunk) - taken, room - filled)
            # Slices of a chunk that fits are the chunk itself, and no copy.
            buffer[filled : filled + some] = chunk[taken : taken + some]
            filled += some
            taken += some
            if filled == part_bytes:
                yield memoryview(buffer)
                given.append(buffer)
                buffer = given.popleft() if len(given) == buffers else _buffer(room)
                filled = 0
    _check_length(received, content_length, complete=True)
    if filled:
        yield memoryview(buffer)[:filled]


def _buffer(size: int) -> bytearray | mmap.mmap:
    """Large ones start on a page, as direct writes to a disk want."""
    return bytearray(size) if size < mmap.PAGESIZE else mmap.mmap(-1, size)


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
