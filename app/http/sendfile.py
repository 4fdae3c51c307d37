"""Files that the kernel sends: ASGI's extension `http.response.zerocopysend`, which uvicorn lacks.

A file's bytes go from the page cache to the socket without passing through Python.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, BinaryIO

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.errors import StalledError
from app.operations import context
from app.threads import Threads

EXTENSION = "http.response.zerocopysend"

_AVAILABLE = hasattr(os, "sendfile")
_threads = Threads(8)  # what they wait for is the disk
_AT_ONCE = 16 << 20  # then another transfer has its turn
_CHUNK = 1 << 20
_AHEAD = 8 << 20  # what the disk is asked for beforehand

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


class FileSender:
    """`send` of an answer, which takes the extension's messages, too.

    For an answer of a known Content-Length only. Raises StalledError where the client takes nothing
    for `idle_seconds`, EOFError where the file ends early.
    """

    def __init__(self, answer: RequestResponseCycle, send: Send, idle_seconds: float) -> None:
        self._answer = answer
        self._send = send
        self._idle_seconds = idle_seconds

    async def __call__(self, message: Message) -> None:
        if message["type"] != EXTENSION:
            await self._send(message)
            return
        await self._flushed()
        file, offset, count = message["file"], message["offset"], message["count"]
        if self._answer.chunked_encoding or count > self._answer.expected_content_length:
            raise RuntimeError("Response content longer than Content-Length")
        try:
            await self._send_file(file, offset, count)
        except (BrokenPipeError, ConnectionResetError):
            return  # as to any other message, a client that is gone is no error
        self._answer.expected_content_length -= count
        more = message.get("more_body", False)
        await self._send({"type": "http.response.body", "body": b"", "more_body": more})

    async def _flushed(self) -> None:
        """Wait until what was written before, the headers, is with the kernel."""
        transport = self._answer.transport
        if self._answer.disconnected or not transport.get_write_buffer_size():
            return
        transport.set_write_buffer_limits(0)  # uvicorn's flow control now waits for all of it
        await self._unless_stalled(self._answer.flow.drain())
        if not self._answer.disconnected:
            transport.set_write_buffer_limits()

    async def _send_file(self, file: BinaryIO, offset: int, count: int) -> None:
        if self._answer.disconnected:
            return
        # Of its own, since the transport may close its socket meanwhile; and event loops refuse to
        # watch the one that a transport has.
        request = context.current()
        threads = _threads.of((request and request.tenant) or "")
        with self._answer.transport.get_extra_info("socket").dup() as target:
            end = offset + count
            while offset < end and not self._answer.disconnected:
                most = min(_AT_ONCE, end - offset)
                sent = await threads.run(_send_some, target.fileno(), file, offset, most)
                offset += sent
                if sent < most:
                    await self._writable(target)

    async def _writable(self, target: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_writer(target, ready.set)
        try:
            await self._unless_stalled(ready.wait())
        finally:
            loop.remove_writer(target)

    async def _unless_stalled(self, taking: Awaitable[object]) -> None:
        try:
            await asyncio.wait_for(taking, self._idle_seconds)
        except TimeoutError as error:
            raise StalledError(
                f"The client took nothing for {self._idle_seconds:g} seconds"
            ) from error


def offered(
    app: ASGI3Application, answer: RequestResponseCycle, idle_seconds: float
) -> ASGI3Application:
    """The application, told that this connection has the extension, if it can have it."""
    if not _AVAILABLE or answer.scope["scheme"] != "http":  # TLS has to see the bytes
        return app

    def with_extension(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        scope["extensions"] = {EXTENSION: {}}
        sender: Any = FileSender(answer, send, idle_seconds)
        return app(scope, receive, sender)

    return with_extension


def _send_some(target: int, file: BinaryIO, offset: int, count: int) -> int:
    """How many bytes the socket took before it was full."""
    sent = 0
    while sent < count:
        at = offset + sent
        if hasattr(os, "posix_fadvise"):  # not everywhere
            os.posix_fadvise(file.fileno(), at, _AHEAD, os.POSIX_FADV_WILLNEED)
        try:
            some = os.sendfile(target, file.fileno(), at, min(_CHUNK, count - sent))
        except BlockingIOError:
            break
        if not some:
            raise EOFError("The file is shorter than it was said to be")
        sent += some
    return sent
