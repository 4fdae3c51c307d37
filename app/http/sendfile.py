"""Files that the kernel sends: ASGI's extension `http.response.zerocopysend`, which uvicorn lacks.

A file's bytes go from the page cache to the socket without passing through Python.
"""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any, BinaryIO

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.kernel import request_context
from app.kernel.fair_thread_pool import FairThreadPool

EXTENSION = "http.response.zerocopysend"

# Elsewhere nothing tells how much of it a client has taken, and one that takes nothing would stay.
_AVAILABLE = sys.platform == "linux"
_threads = FairThreadPool(8)  # what they wait for is the disk
_AT_ONCE = 16 << 20  # then another transfer has its turn
_CHUNK = 1 << 20
_AHEAD = 8 << 20  # what the disk is asked for beforehand


def offered(scope: Any) -> bool:
    """Whether the connection can have the extension: TLS would have to see the bytes. For answers
    to a GET alone, since no others are files."""
    return _AVAILABLE and scope["method"] == "GET" and scope["scheme"] == "http"


async def sent(
    answer: RequestResponseCycle, file: BinaryIO, offset: int, count: int
) -> AsyncIterator[int]:
    """Send that part of the file, for as long as the client is there; yields how many bytes the
    kernel took each time.

    A client that takes too little is cut off by the connection. Raises BrokenPipeError or
    ConnectionResetError where it is gone, EOFError where the file ends early.
    """
    await _flushed(answer)
    if answer.disconnected:
        return
    request = request_context.current()
    threads = _threads.of((request and request.tenant) or "")
    # Of its own, since the transport may close its socket meanwhile; and event loops refuse to
    # watch the one that a transport has.
    with answer.transport.get_extra_info("socket").dup() as target:
        end = offset + count
        while offset < end and not answer.disconnected:
            most = min(_AT_ONCE, end - offset)
            some = await threads.run(_send_some, target.fileno(), file, offset, most)
            offset += some
            yield some
            if some < most:
                await _writable(target)


async def _flushed(answer: RequestResponseCycle) -> None:
    """Wait until what was written before, the headers, is with the kernel."""
    transport = answer.transport
    if answer.disconnected or not transport.get_write_buffer_size():
        return
    transport.set_write_buffer_limits(0)  # uvicorn's flow control now waits for all of it
    await answer.flow.drain()
    if not answer.disconnected:
        transport.set_write_buffer_limits()


async def _writable(target: socket.socket) -> None:
    """Wait until the kernel takes more, or the connection is shut down."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(target, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(target)


def _send_some(target: int, file: BinaryIO, offset: int, count: int) -> int:
    """How many bytes the socket took before it was full."""
    sent = 0
    while sent < count:
        at = offset + sent
        os.posix_fadvise(file.fileno(), at, _AHEAD, os.POSIX_FADV_WILLNEED)
        try:
            some = os.sendfile(target, file.fileno(), at, min(_CHUNK, count - sent))
        except BlockingIOError:
            break
        if not some:
            raise EOFError("The file is shorter than it was said to be")
        sent += some
    return sent
