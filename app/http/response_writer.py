"""Writes a response to a client that may read it slowly, or not at all."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.http import sendfile
from app.http.refusals import STOPPING

# A larger body is written in slices, each once the transport has room: what is written waits in
# memory for the client.
SLICE_BYTES = 256 * 1024

# Key in `scope["state"]`: the client disconnected, or was reset, before the response ended.
CLIENT_DISCONNECTED = "client_disconnected"

Message = MutableMapping[str, Any]


class ResponseWriter:
    """Runs the application for one request, with a `send` of our own around uvicorn's cycle.

    `send` writes large bodies in slices and supports the messages of `sendfile`. `written` is how
    many bytes of sliced bodies and of files were written. `before_close` is called before the last
    message of a response after which the connection is closed.
    """

    __slots__ = ("_app", "_before_close", "cycle", "written")

    def __init__(
        self,
        app: ASGI3Application,
        cycle: RequestResponseCycle,
        before_close: Callable[[RequestResponseCycle], None],
    ) -> None:
        self.cycle = cycle
        self.written = 0
        self._app = app
        self._before_close = before_close

    async def run(self, scope: Any, receive: Any, _: Any) -> None:
        """Run the application; if the server stops first, answer 503 or close the connection."""
        if sendfile.supports(scope):
            scope["extensions"] = {sendfile.EXTENSION: {}}
        try:
            await self._app(scope, receive, self.send)  # type: ignore[arg-type]
        except asyncio.CancelledError:
            # The server is stopping, and the grace period of open requests has ended.
            await self._abort()

    def send(self, message: Message) -> Awaitable[None]:
        """ASGI's `send`."""
        cycle = self.cycle
        kind = message["type"]
        if kind == "http.response.body":
            body, more = message.get("body", b""), message.get("more_body", False)
            if more or len(body) > SLICE_BYTES:
                return self._send_slices(memoryview(body), more)
            if not cycle.keep_alive:
                self._before_close(cycle)
        elif kind == sendfile.EXTENSION:
            return self._send_file(message)
        elif cycle.more_body:
            # The response begins before the request's body was received: close the connection
            # afterwards rather than receive the rest.
            cycle.keep_alive = False
        return cycle.send(message)  # type: ignore[arg-type]

    async def _send_slices(self, body: memoryview, more: bool) -> None:
        cycle = self.cycle
        last = False
        while not (last or cycle.disconnected):
            part, body = body[:SLICE_BYTES], body[SLICE_BYTES:]
            last = not body
            if last and not (more or cycle.keep_alive):
                self._before_close(cycle)
            message: Any = {"type": "http.response.body", "body": part}
            message["more_body"] = more or not last
            await cycle.send(message)  # waits until the transport has room
            self.written += len(part)

    async def _send_file(self, message: Message) -> None:
        cycle = self.cycle
        count = message["count"]
        if cycle.chunked_encoding or count > cycle.expected_content_length:
            raise RuntimeError("Response content longer than Content-Length")
        try:
            async for sent in sendfile.send_file(cycle, message["file"], message["offset"], count):
                self.written += sent
        except (BrokenPipeError, ConnectionResetError):
            cycle.disconnected = True  # the event loop is about to report it
            return
        cycle.expected_content_length -= count
        more = message.get("more_body", False)
        await self.send({"type": "http.response.body", "body": b"", "more_body": more})

    async def _abort(self) -> None:
        cycle = self.cycle
        if cycle.response_started:
            cycle.disconnected = True
            cycle.transport.close()
            return
        await self.send(
            {"type": "http.response.start", "status": STOPPING.status, "headers": STOPPING.headers}
        )
        await self.send({"type": "http.response.body", "body": STOPPING.body})
