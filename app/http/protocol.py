"""uvicorn's HTTP/1.1 protocol with timeouts for slow clients, lingering close and sendfile.

uvicorn alone waits forever for a client that stops sending in the middle of a request, or stops
reading its response, and keeps all that was written for it in memory.
"""

import asyncio
import socket
import struct
import sys
from dataclasses import dataclass
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.http import refusals
from app.http.bounded_parser import BoundedParserProtocol
from app.http.connection_limit import max_connections
from app.http.refusals import Refusal
from app.http.response_writer import CLIENT_DISCONNECTED, ResponseWriter

if sys.platform == "linux":
    import fcntl
    import termios


@dataclass(frozen=True, slots=True)
class _WriteProgress:
    """A response's progress at the end of a window: the bytes written in all, and of those the
    bytes that the client has not taken yet."""

    response: ResponseWriter | None
    written: int
    pending: int


class BoundedHttp(BoundedParserProtocol):
    """The protocol that `tracking serve` runs.

    Requests beyond the bounds are answered 400, 408 or 431, and the connection is closed. A client
    that reads its response too slowly is reset.
    """

    # A request must make progress: in every whole window at least so many bytes must arrive. A
    # slow upload of any size may go on.
    window_seconds = 30.0
    min_received_bytes = 1024
    # Of the bytes that were pending at the beginning of a window, the client must take all or so
    # many until its end.
    min_taken_bytes = 64 * 1024
    # Lingering close: after the last response, data from the client is read and discarded for so
    # long. A client that sends all before it reads would otherwise get a reset instead of the
    # response.
    linger_seconds = 30.0
    linger_pause = 0.005  # between two reads of at most 256 KiB

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._window_timer: asyncio.TimerHandle | None = None
        self._response: ResponseWriter | None = None  # the current or the last one
        self._closes_after_response = self._stopping = False
        self._linger_timer: asyncio.TimerHandle | None = None
        self._pending_refusal: Refusal | None = None  # sent after the current response
        self._progress = _WriteProgress(None, 0, 0)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > max_connections():
            self._parsing_stopped = True
            self._write(refusals.TOO_MANY_CONNECTIONS)
            transport.close()
        self._window_timer = self.loop.call_later(self.window_seconds, self._end_of_window)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._window_timer, self._linger_timer):
            if timer is not None:
                timer.cancel()
        if self._response is not None and not self._response.cycle.response_complete:
            cycle = self._response.cycle  # uvicorn notifies only the last of pipelined requests
            cycle.disconnected = True
            cycle.message_event.set()
            cycle.scope["state"][CLIENT_DISCONNECTED] = True
        self._response = None
        self.pipeline.clear()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        self._stopping = True
        if self._linger_timer is not None:
            self.transport.close()
        else:
            super().shutdown()

    # Responses.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._response = ResponseWriter(app, cycle, self._before_close)
        super()._start_asgi_task(cycle, self._response.run)

    def _before_close(self, cycle: RequestResponseCycle) -> None:
        """Linger after this response: called before its last message if the connection closes."""
        cycle.keep_alive = True  # otherwise uvicorn closes the connection at once
        self._closes_after_response = True

    def on_response_complete(self) -> None:
        if self._closes_after_response:
            self.server_state.total_requests += 1
            self._close_lingering()
            return
        super().on_response_complete()
        if self._pending_refusal is not None and not self._responding:
            self._close_with(self._pending_refusal)

    @property
    def _responding(self) -> bool:
        return self._response is not None and not self._response.cycle.response_complete

    # Closing the connection.

    def refuse(self, refusal: Refusal) -> None:
        in_body, self._part = self._part == "body", None
        self._parsing_stopped = True
        if in_body and self.pipeline:
            self.pipeline.popleft()  # its response has not begun
        elif in_body:
            if self.cycle.response_started:
                return  # the connection is closed after that response
            self.cycle.disconnected = True
            self.cycle.waiting_for_100_continue = False
            self.cycle.message_event.set()
            self._close_with(refusal)
            return
        if self._responding:
            self._pending_refusal = refusal
        else:
            self._close_with(refusal)

    def _close_with(self, refusal: Refusal) -> None:
        if not self.transport.is_closing():
            self._write(refusal)
            self._close_lingering()

    def _write(self, refusal: Refusal) -> None:
        self.transport.write(refusal.encode(self.server_state.default_headers))

    def _discard(self) -> None:
        self.flow.pause_reading()
        if self._linger_timer is not None:
            self.loop.call_later(self.linger_pause, self._resume_reading)

    def _resume_reading(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def _close_lingering(self) -> None:
        """Close our side of the connection; the rest when the client closes its side, or later."""
        self._parsing_stopped, self._part = True, None
        self.pipeline.clear()
        if self.cycle is not None:
            self.cycle.body.clear()
        self._unset_keepalive_if_required()
        if self.transport.is_closing():
            return
        if self._stopping or not self.transport.can_write_eof():
            self.transport.close()  # pending data is still delivered
            return
        self.transport.write_eof()
        self.flow.resume_reading()
        self._linger_timer = self.loop.call_later(self.linger_seconds, self.transport.close)

    # Timeouts.

    def _end_of_window(self) -> None:
        self._window_timer = self.loop.call_later(self.window_seconds, self._end_of_window)
        if self._response_too_slow():
            self._reset()
        elif self._request_too_slow():
            self.refuse(refusals.TOO_SLOW)
        self._received_bytes, self._part_is_new = 0, False

    def _request_too_slow(self) -> bool:
        """Whether less of the request arrived in this window than it must."""
        if (
            self._part is None
            or self._part_is_new
            or self._received_bytes >= self.min_received_bytes
        ):
            return False
        # Not if the server holds it up: the body is not requested yet, not needed, or not read.
        cycle = self.cycle
        held_up = cycle and (
            cycle.waiting_for_100_continue or (self._part == "body" and cycle.response_started)
        )
        return not (held_up or self.flow.read_paused or self.transport.is_closing())

    def _response_too_slow(self) -> bool:
        """Whether the client took less of its response in this window than it must."""
        before, response = self._progress, self._response
        written = response.written if response else 0
        pending = self.transport.get_write_buffer_size() + self._unacknowledged()
        self._progress = _WriteProgress(response, written, pending)
        if before.response is not response:
            return False  # the response before was taken, up to the transport's buffer
        taken = before.pending + written - before.written - pending
        return taken < min(self.min_taken_bytes, before.pending)

    def _unacknowledged(self) -> int:
        """The bytes in the kernel's send buffer that the client has not acknowledged.

        The kernel accepts more only once a third of its buffer (megabytes) is free. Without
        looking into it, a slow client would seem to take nothing for minutes.
        """
        if sys.platform != "linux":
            return 0
        try:
            with self.transport.get_extra_info("socket").dup() as ours:
                result = fcntl.ioctl(ours, termios.TIOCOUTQ, bytes(4))
        except OSError:  # closed in the meantime
            return 0
        found: int = struct.unpack("i", result)[0]
        return found

    def _reset(self) -> None:
        """Reset the connection. The kernel frees its send buffer, and a sendfile in progress
        fails."""
        try:
            with self.transport.get_extra_info("socket").dup() as ours:
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                ours.shutdown(socket.SHUT_RDWR)
        except OSError:  # closed in the meantime
            pass
        self.transport.abort()
