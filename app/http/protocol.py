"""uvicorn's HTTP/1.1, with bounds on what a client can make it hold and wait for, and with files
that the kernel sends.

By itself it waits for ever for a client that stops sending in the middle of a request, or stops
taking its answer, and keeps all that is written for it meanwhile.
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
from app.http.bounded_parser import BoundedParsing
from app.http.connection_limit import most_connections
from app.http.refusals import Refusal
from app.http.response_cycle import CLIENT_GONE, Answer

if sys.platform == "linux":
    import fcntl
    import termios


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What waits for the client at the end of a window: bytes that were written and that it has not
    taken, beside those that were written in all."""

    answer: Answer | None
    written: int
    bytes: int


class BoundedHttp(BoundedParsing):
    """What is over the bounds is answered 400, 408 or 431, and the connection is closed; so is that
    of a client that does not take its answer."""

    # In each whole window that it is under way a request must bring so much, whatever its size: a
    # slow upload goes on for as long as it makes progress.
    window_seconds = 30.0
    window_bytes = 1024
    # And of what waits at its beginning a client must have taken all, or so much, at its end.
    window_taken = 64 * 1024
    # So long is read, and thrown away, what a client still sends after its answer: who sends all
    # before it reads would else find the connection reset, and no answer.
    linger_seconds = 30.0
    linger_pause = 0.005  # between two reads, of which each takes 256 KiB at most

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._answer: Answer | None = None  # the one under way, or the last
        self._lingers = self._stops = False
        self._lingering: asyncio.TimerHandle | None = None
        self._last: Refusal | None = None  # after the answers that are under way
        self._waiting = _Waiting(None, 0, 0)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > most_connections():
            self._deaf = True
            self._write(refusals.TOO_MANY_CONNECTIONS)
            transport.close()
        self._timer = self.loop.call_later(self.window_seconds, self._end_of_window)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._lingering):
            if timer is not None:
                timer.cancel()
        if self._answer is not None and not self._answer.cycle.response_complete:
            cycle = self._answer.cycle  # of pipelined requests uvicorn tells the last one only
            cycle.disconnected = True
            cycle.message_event.set()
            cycle.scope["state"][CLIENT_GONE] = True
        self._answer = None
        self.pipeline.clear()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        self._stops = True
        if self._lingering is not None:
            self.transport.close()
        else:
            super().shutdown()

    # Answers.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answer = Answer(app, cycle, self._closes)
        super()._start_asgi_task(cycle, self._answer.run)

    def _closes(self, cycle: RequestResponseCycle) -> None:
        """Called before the last part of an answer after which the connection is closed."""
        cycle.keep_alive = True  # else uvicorn closes it, whatever still comes
        self._lingers = True

    def on_response_complete(self) -> None:
        if self._lingers:
            self.server_state.total_requests += 1
            self._linger()
            return
        super().on_response_complete()
        if self._last is not None and not self._answering:
            self._end_with(self._last)

    @property
    def _answering(self) -> bool:
        return self._answer is not None and not self._answer.cycle.response_complete

    # Ends of a connection.

    def refuse(self, refusal: Refusal) -> None:
        in_body, self._part = self._part == "body", None
        self._deaf = True
        if in_body and self.pipeline:
            self.pipeline.popleft()  # it has not begun to be answered
        elif in_body:
            if self.cycle.response_started:
                return  # after which the connection is closed
            self.cycle.disconnected = True
            self.cycle.waiting_for_100_continue = False
            self.cycle.message_event.set()
            self._end_with(refusal)
            return
        if self._answering:
            self._last = refusal
        else:
            self._end_with(refusal)

    def _end_with(self, refusal: Refusal) -> None:
        if not self.transport.is_closing():
            self._write(refusal)
            self._linger()

    def _write(self, refusal: Refusal) -> None:
        self.transport.write(refusal.on_the_wire(self.server_state.default_headers))

    def _drop(self) -> None:
        self.flow.pause_reading()
        if self._lingering is not None:
            self.loop.call_later(self.linger_pause, self._read_on)

    def _read_on(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def _linger(self) -> None:
        """Close our side; all of it when the client has closed its own, or after a while."""
        self._deaf, self._part = True, None
        self.pipeline.clear()
        if self.cycle is not None:
            self.cycle.body.clear()
        self._unset_keepalive_if_required()
        if self.transport.is_closing():
            return
        if self._stops or not self.transport.can_write_eof():
            self.transport.close()  # what is written arrives; the process does not wait for more
            return
        self.transport.write_eof()
        self.flow.resume_reading()
        self._lingering = self.loop.call_later(self.linger_seconds, self.transport.close)

    # Time.

    def _end_of_window(self) -> None:
        self._timer = self.loop.call_later(self.window_seconds, self._end_of_window)
        if self._takes_too_little():
            self._reset()
        elif self._brings_too_little():
            self.refuse(refusals.TOO_SLOW)
        self._received, self._fresh = 0, False

    def _brings_too_little(self) -> bool:
        if self._part is None or self._fresh or self._received >= self.window_bytes:
            return False
        # We may be what holds it up: a body that is not read yet, not asked for, or not needed.
        cycle = self.cycle
        ours = cycle and (
            cycle.waiting_for_100_continue or (self._part == "body" and cycle.response_started)
        )
        return not (ours or self.flow.read_paused or self.transport.is_closing())

    def _takes_too_little(self) -> bool:
        before, answer = self._waiting, self._answer
        written = answer.written if answer else 0
        waits = self.transport.get_write_buffer_size() + self._unacknowledged()
        self._waiting = _Waiting(answer, written, waits)
        if before.answer is not answer:
            return False  # the one of before was taken, but for what the transport may keep
        taken = before.bytes + written - before.written - waits
        return taken < min(self.window_taken, before.bytes)

    def _unacknowledged(self) -> int:
        """How many bytes the kernel keeps for the client.

        It takes a megabyte more once a third of what it keeps is taken; without looking at that a
        client might seem to take nothing for minutes.
        """
        if sys.platform != "linux":
            return 0
        try:
            with self.transport.get_extra_info("socket").dup() as ours:
                answer = fcntl.ioctl(ours, termios.TIOCOUTQ, bytes(4))
        except OSError:  # closed meanwhile
            return 0
        found: int = struct.unpack("i", answer)[0]
        return found

    def _reset(self) -> None:
        """Cut the client off. What the kernel keeps for it is freed, too, and a file that is being
        sent to it wakes up."""
        try:
            with self.transport.get_extra_info("socket").dup() as ours:
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                ours.shutdown(socket.SHUT_RDWR)
        except OSError:  # closed meanwhile
            pass
        self.transport.abort()
