"""uvicorn's HTTP/1.1, with bounds on what a client can make it hold and wait for, and with files
that the kernel sends.

By itself it gathers a request line and headers that never end until memory is full, and waits for
ever for a client that stops sending in the middle of a request.
"""

import asyncio
from http import HTTPStatus
from typing import Any, Literal

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.http import sendfile


class BoundedHttp(HttpToolsProtocol):
    """What is over the bounds is answered 431 or 408, and the connection is closed."""

    max_head_bytes = 64 * 1024  # the request line and the headers
    # In each whole window that it is under way a request must bring so much, whatever its size: a
    # slow upload goes on for as long as it makes progress.
    window_seconds = 30.0
    window_bytes = 1024
    # So long may a client take nothing of a file that it is sent.
    idle_seconds = 60.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Which part of a request is under way. A connection that is just open has yet to send one;
        # between two requests uvicorn's keep-alive applies.
        self._part: Literal["head", "body"] | None = "head"
        self._head_bytes = 0
        self._received = 0
        self._fresh = True  # not yet under way for a whole window
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.window_seconds, self._end_of_window)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        in_head = self._part == "head"
        super().data_received(data)
        if in_head and self._part == "head" and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > self.max_head_bytes:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        self._part, self._fresh = "head", True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._part, self._head_bytes = "body", 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._part = None
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if cycle.scope["method"] == "GET":  # what answers with a file
            app = sendfile.offered(app, cycle, self.idle_seconds)
        super()._start_asgi_task(cycle, app)

    def _end_of_window(self) -> None:
        if self.transport.is_closing():
            return
        # We may be what holds it up: a body that is not read yet, or not asked for.
        ours = self.flow.read_paused or (self.cycle and self.cycle.waiting_for_100_continue)
        stalled = self._received < self.window_bytes and not (ours or self._fresh)
        if self._part is not None and stalled:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
            return
        self._received, self._fresh = 0, False
        self._timer = self.loop.call_later(self.window_seconds, self._end_of_window)

    def _refuse(self, status: HTTPStatus) -> None:
        earlier = self.cycle is None or (self._part == "head" and self.cycle.response_complete)
        if earlier or not self.cycle.response_started:
            self.transport.write(
                f"HTTP/1.1 {status.value} {status.phrase}\r\n"
                "content-length: 0\r\nconnection: close\r\n\r\n".encode()
            )
        self.transport.close()
