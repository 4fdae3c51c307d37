"""Sends files by sendfile(2): ASGI's extension `http.response.zerocopysend`, which uvicorn lacks.

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

# Only on Linux can be found out how much of a file a client has taken. Elsewhere a client that
# takes nothing would keep its connection forever.
_AVAILABLE = sys.platform == "linux"
_threads = FairThreadPool(8)  # they wait for the disk
_TURN_BYTES = 16 << 20  # after so many bytes the thread serves another transfer
_CHUNK = 1 << 20
_READ_AHEAD = 8 << 20


def supports(scope: Any) -> bool:
    """Whether the request's connection supports the extension: a GET without TLS."""
    return _AVAILABLE and scope["method"] == "GET" and scope["scheme"] == "http"


async def send_file(
    cycle: RequestResponseCycle, file: BinaryIO, offset: int, count: int
) -> AsyncIterator[int]:
    """Send `count` bytes of the file from `offset`; yields how many the kernel took each time.

    Ends when the client has disconnected; the connection resets a client that reads too slowly.
    Raises BrokenPipeError or ConnectionResetError if the connection is lost, EOFError if the file
    is shorter.
    """
    await _flush(cycle)
    if cycle.disconnected:
        return
    request = request_context.current()
    threads = _threads.of((request and request.tenant) or "")
    # A duplicate, since the transport may close its socket meanwhile, and since event loops refuse
    # to watch a socket that has a transport.
    with cycle.transport.get_extra_info("socket").dup() as target:
        end = offset + count
        while offset < end and not cycle.disconnected:
            most = min(_TURN_BYTES, end - offset)
            sent = await threads.run(send_until_full, target.fileno(), file, offset, most)
            offset += sent
            yield sent
            if sent < most:
                await _wait_writable(target)


async def _flush(cycle: RequestResponseCycle) -> None:
    """Wait until the kernel has what was written before: the response's headers."""
    transport = cycle.transport
    if cycle.disconnected or not transport.get_write_buffer_size():
        return
    transport.set_write_buffer_limits(0)  # so that uvicorn's flow control waits for an empty buffer
    await cycle.flow.drain()
    if not cycle.disconnected:
        transport.set_write_buffer_limits()


async def _wait_writable(target: socket.socket) -> None:
    """Wait until the kernel takes more, or the connection is shut down."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(target, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(target)


def send_until_full(target: int, file: BinaryIO, offset: int, count: int) -> int:
    """Send until the socket's buffer is full or `count` bytes are sent; returns their number."""
    total = 0
    while total < count:
        position = offset + total
        os.posix_fadvise(file.fileno(), position, _READ_AHEAD, os.POSIX_FADV_WILLNEED)
        try:
            sent = os.sendfile(target, file.fileno(), position, min(_CHUNK, count - total))
        except BlockingIOError:
            break
        if not sent:
            raise EOFError("The file is shorter than it was said to be")
        total += sent
    return total
