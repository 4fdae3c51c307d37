"""One request's answer on its way to a client that may take it slowly, or not at all."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.http import sendfile
from app.http.refusals import STOPPING

# A body of more is written in slices, each when the one before has left: what is written waits in
# memory for the client.
SLICE_BYTES = 256 * 1024

# In `scope["state"]`: the client hung up, or was cut off, before it had the answer.
CLIENT_GONE = "client_gone"

Message = MutableMapping[str, Any]


class Answer:
    """The application with a `send` of our own, which also takes the messages of `sendfile`.

    `written` counts what the connection was given of a body that is not written at once, in bytes.
    `closes` is called before the last message of an answer after which the connection is closed.
    """

    __slots__ = ("_app", "_closes", "cycle", "written")

    def __init__(
        self,
        app: ASGI3Application,
        cycle: RequestResponseCycle,
        closes: Callable[[RequestResponseCycle], None],
    ) -> None:
        self.cycle = cycle
        self.written = 0
        self._app = app
        self._closes = closes

    async def run(self, scope: Any, receive: Any, _: Any) -> None:
        if sendfile.offered(scope):
            scope["extensions"] = {sendfile.EXTENSION: {}}
        try:
            await self._app(scope, receive, self.send)  # type: ignore[arg-type]
        except asyncio.CancelledError:
            # The server stops, and the time for open requests is over.
            await self._break_off()

    def send(self, message: Message) -> Awaitable[None]:
        cycle = self.cycle
        kind = message["type"]
        if kind == "http.response.body":
            body, more = message.get("body", b""), message.get("more_body", False)
            if more or len(body) > SLICE_BYTES:
                return self._send_slices(memoryview(body), more)
            if not cycle.keep_alive:
                self._closes(cycle)
        elif kind == sendfile.EXTENSION:
            return self._send_file(message)
        elif cycle.more_body:
            # What is left of the request's body is not worth to be received for the next one.
            cycle.keep_alive = False
        return cycle.send(message)  # type: ignore[arg-type]

    async def _send_slices(self, body: memoryview, more: bool) -> None:
        cycle = self.cycle
        last = False
        while not (last or cycle.disconnected):
            part, body = body[:SLICE_BYTES], body[SLICE_BYTES:]
            last = not body
            if last and not (more or cycle.keep_alive):
                self._closes(cycle)
            message: Any = {"type": "http.response.body", "body": part}
            message["more_body"] = more or not last
            await cycle.send(message)  # waits until the connection has room
            self.written += len(part)

    async def _send_file(self, message: Message) -> None:
        cycle = self.cycle
        count = message["count"]
        if cycle.chunked_encoding or count > cycle.expected_content_length:
            raise RuntimeError("Response content longer than Content-Length")
        try:
            async for sent in sendfile.sent(cycle, message["file"], message["offset"], count):
                self.written += sent
        except (BrokenPipeError, ConnectionResetError):
            cycle.disconnected = True  # which the event loop is about to say
            return
        cycle.expected_content_length -= count
        more = message.get("more_body", False)
        await self.send({"type": "http.response.body", "body": b"", "more_body": more})

    async def _break_off(self) -> None:
        cycle = self.cycle
        if cycle.response_started:
            cycle.disconnected = True
            cycle.transport.close()
            return
        await self.send(
            {"type": "http.response.start", "status": STOPPING.status, "headers": STOPPING.headers}
        )
        await self.send({"type": "http.response.body", "body": STOPPING.body})
