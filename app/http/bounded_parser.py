"""Bounds on what is parsed of a connection: heads, trailers, chunk framing, pipelined requests.

uvicorn alone collects an endless request line, header or trailer until memory is full, takes
trailers for headers, takes what follows an Upgrade for the next request, and queues every request
of a read.
"""

from typing import Any, Literal

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.http import refusals
from app.http.refusals import Refusal


class _StopError(Exception):
    """Raised in a callback of the parser to stop it."""


class BoundedParserProtocol(HttpToolsProtocol):
    """Parses requests within bounds. Subclasses define what happens beyond them: `refuse`, and
    `_discard` for data after parsing has stopped.

    Bytes are counted by reads of the event loop, of at most 256 KiB each.
    """

    max_head_bytes = 64 * 1024  # the request line and the headers
    max_headers = 256
    max_trailer_bytes = 8 * 1024
    # Chunk sizes, chunk extensions and trailers: 16 KiB, and 16 bytes for each byte of body, which
    # is three times what chunks of one byte need.
    max_framing_bytes = 16 * 1024
    framing_per_body_byte = 16
    # Pipelined requests of a connection that wait for the responses before.
    max_pipelined = 16

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # The part of a request that is being received; a new connection begins with a head. None
        # between two requests, where uvicorn's keep-alive timeout applies.
        self._part: Literal["head", "body"] | None = "head"
        self._part_is_new = True  # it began in the current window
        self._part_began_in_read = False  # it began in the last read
        self._parsing_stopped = False
        self._received_bytes = 0  # in the current window
        self._read_bytes = 0  # by the last read
        self._body_bytes = self._trailer_bytes = 0
        self._overhead_bytes = 0  # of the current part: all that is not body
        self._upgrading = self._pipeline_full = False
        self._refusal = refusals.MALFORMED

    def refuse(self, refusal: Refusal) -> None:
        """Answer the request that is being received with the refusal, and stop parsing."""
        raise NotImplementedError

    def _discard(self) -> None:
        """Handle data that arrives after parsing has stopped."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        if self._parsing_stopped:
            self._discard()
            return
        self._unset_keepalive_if_required()
        self._received_bytes += len(data)
        self._read_bytes = len(data)
        self._part_began_in_read = False
        if self._part is None:  # a request begins, or an empty line that may precede it
            self._part, self._part_is_new, self._overhead_bytes = "head", True, 0
        body_before = self._body_bytes
        if self._parse(data) and not self._part_began_in_read:
            self._check_overhead(len(data), self._body_bytes - body_before)

    def _parse(self, data: bytes) -> bool:
        while data:
            try:
                self.parser.feed_data(data)
                return True
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade(data[upgrade.args[0] :])
            except httptools.HttpParserError:
                if self._pipeline_full:
                    self._stop_parsing()
                else:
                    self.refuse(self._refusal)
                return False
        return True

    def _check_overhead(self, received: int, body: int) -> None:
        self._overhead_bytes += received - body
        if self._part == "head":
            if self._overhead_bytes > self.max_head_bytes:
                self.refuse(refusals.OVER_HEAD)
        elif self._part == "body":
            self._overhead_bytes = max(0, self._overhead_bytes - body * self.framing_per_body_byte)
            if self._overhead_bytes > self.max_framing_bytes:
                self.refuse(refusals.OVER_FRAMING)

    def _stop_parsing(self) -> None:
        """Close the connection after the response to the last request that was parsed."""
        self._parsing_stopped = True
        self.cycle.keep_alive = False

    def _without_upgrade(self, rest: bytes) -> bytes:
        """The request again without its header Upgrade, followed by `rest`, for a new parser.

        A server may ignore an Upgrade (RFC 9110, 7.8), but httptools then takes the request for
        one without a body, and its body for the next request.
        """
        self._upgrading = False
        lines = [b"%s %s HTTP/%s" % (self._method(), self.url, self._version())]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"\r\n".join([*lines, b"", rest])

    def _method(self) -> bytes:
        return self.parser.get_method()

    def _version(self) -> bytes:
        return self.parser.get_http_version().encode()

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        if self._parsing_stopped or len(self.pipeline) >= self.max_pipelined:
            self._pipeline_full = True
            raise _StopError
        self._part, self._part_is_new, self._part_began_in_read, self._overhead_bytes = (
            "head",
            True,
            True,
            0,
        )
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._part == "head":  # as in uvicorn; there are some ten headers in a request
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))
            return
        # A trailer, which is counted and ignored: merged into the headers it could change who the
        # caller is (RFC 9110, 6.5.1).
        self._trailer_bytes += len(name) + len(value)
        if self._trailer_bytes > self.max_trailer_bytes:
            raise self._stop_with(refusals.OVER_TRAILERS)

    def on_headers_complete(self) -> None:
        if len(self.headers) > self.max_headers or (
            self._overhead_bytes + self._read_bytes > self.max_head_bytes
            and self._head_bytes() > self.max_head_bytes
        ):
            raise self._stop_with(refusals.OVER_HEAD)
        if self.parser.should_upgrade():
            if self._method() == b"CONNECT":
                raise self._stop_with(refusals.NO_TUNNEL)
            self._upgrading = True
            return
        super().on_headers_complete()
        self._part, self._part_began_in_read, self._overhead_bytes, self._trailer_bytes = (
            "body",
            True,
            0,
            0,
        )

    def on_body(self, body: bytes) -> None:
        # As in uvicorn, without its check for Upgrades: small chunks make tens of thousands of
        # calls.
        self._body_bytes += len(body)
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.body += body
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        self._part = None
        super().on_message_complete()
        if not self.cycle.keep_alive:
            self._parsing_stopped = True

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _stop_with(self, refusal: Refusal) -> Exception:
        self._refusal = refusal
        return _StopError(refusal)
