"""Bodies on their way into a store: gathered into parts, hashed, and written part by part."""

import asyncio
import mmap
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from typing import Protocol

from app.artifacts.checksums import Checksums, Digest
from app.artifacts.store import StoredObject
from app.artifacts.threads import Threads, finished
from app.errors import InvalidValueError

# Hashing less than this takes no longer than to ask a thread for it.
_HASHED_IN_THE_LOOP = 64 << 10


class Upload(Protocol):
    """One object on its way into a store. Its methods block; one runs at a time."""

    def write(self, part: memoryview) -> None:
        """Take the part. Its memory is used again once the next part was taken."""

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
) -> StoredObject:
    """Write the body in parts and finish; abort on any failure.

    One part is written, and hashed beside that, while the next is gathered: two parts are all the
    memory that an upload of any size takes. Raises InvalidValueError where the body is not what the
    client declared.
    """
    checksums = Checksums(digests)
    working: list[asyncio.Future[None]] = []
    try:
        async with aclosing(in_parts(body, part_bytes, content_length)) as parts:
            async for part in parts:
                await _all_finished(working)
                working = [threads.start(upload.write, part)]
                if len(part) > _HASHED_IN_THE_LOOP:
                    working.append(threads.start(checksums.update, part))
                else:
                    checksums.update(part)
        await _all_finished(working)
        checksums.check()
        return await threads.run(upload.finish, checksums.sha256)
    except BaseException:
        try:
            for work in working:
                with suppress(Exception):
                    await finished(work)
        finally:
            await threads.run(upload.abort)
        raise


async def _all_finished(working: Sequence["asyncio.Future[None]"]) -> None:
    for work in working:
        await finished(work)


async def in_parts(
    body: AsyncIterator[bytes], part_bytes: int, content_length: int | None
) -> AsyncGenerator[memoryview, None]:
    """The body in parts of exactly `part_bytes`, but for the last; none for an empty body.

    A part is there until the next but one is asked for: two buffers take turns. InvalidValueError
    if the body's length is not the declared one: before the last part is given, or as soon as there
    is too much.
    """
    room = part_bytes if content_length is None else min(part_bytes, content_length)
    buffer, other = _buffer(room), None
    filled = received = 0
    async for chunk in body:
        received += len(chunk)
        if content_length is not None and received > content_length:
            raise _wrong_length(f"more than the {content_length}")
        taken = 0
        while taken < len(chunk):
            some = min(len(chunk) - taken, room - filled)
            # Slices of a chunk that fits are the chunk itself, and no copy.
            buffer[filled : filled + some] = chunk[taken : taken + some]
            filled += some
            taken += some
            if filled == part_bytes:
                yield memoryview(buffer)
                buffer, other = other or _buffer(room), buffer
                filled = 0
    if content_length is not None and received != content_length:
        raise _wrong_length(f"{received} of the {content_length}")
    if filled:
        yield memoryview(buffer)[:filled]


def _buffer(size: int) -> bytearray | mmap.mmap:
    """Large ones start on a page, as direct writes to a disk want."""
    return bytearray(size) if size < mmap.PAGESIZE else mmap.mmap(-1, size)


def _wrong_length(counted: str) -> InvalidValueError:
    return InvalidValueError(
        f"The request body has {counted} bytes that its Content-Length declares",
        field="Content-Length",
    )
