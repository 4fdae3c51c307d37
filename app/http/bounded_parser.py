"""What of a connection's bytes is parsed, and how much of it that is no body.

By itself uvicorn gathers a request line, headers and trailers that never end until memory is full,
takes trailers for headers, takes what follows an Upgrade for a request of its own, and queues
every request of a read.
"""

from typing import Any, Literal

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.http import refusals
from app.http.refusals import Refusal


class _StopError(Exception):
    """Raised in a callback of the parser, which then parses no more."""


class BoundedParsing(HttpToolsProtocol):
    """Parses requests within bounds; what becomes of a connection that is beyond them is left to
    `refuse` and `_drop`.

    What counts many bytes counts them by reads of the event loop, which have 256 KiB at most.
    """

    max_head_bytes = 64 * 1024  # the request line and the headers
    max_headers = 256
    max_trailer_bytes = 8 * 1024
    # Sizes and extensions of chunks, and trailers: so much without any body between, and beside it
    # 16 bytes for each of body, which is thrice what the smallest chunks need.
    max_framing_bytes = 16 * 1024
    framing_per_byte = 16
    # Requests of one connection that were sent without waiting for the answers before.
    max_waiting = 16

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Which part of a request is under way. A connection that is just open has yet to send one;
        # between two requests uvicorn's keep-alive applies.
        self._part: Literal["head", "body"] | None = "head"
        self._fresh = True  # it is not under way for a whole window yet
        self._deaf = False  # nothing is parsed any more
        self._received = 0  # since the window began
        self._read = 0  # at once, the last time
        self._body = self._trailers = 0
        self._other = 0  # that was neither, of the part that is under way
        self._turned = False  # the part that is under way began in the last read
        self._upgrading = self._enough = False
        self._refusal = refusals.MALFORMED

    def refuse(self, refusal: Refusal) -> None:
        """Answer the request that is being received with that, and parse no more."""
        raise NotImplementedError

    def _drop(self) -> None:
        """What came is not to be parsed."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._drop()
            return
        self._unset_keepalive_if_required()
        self._received += len(data)
        self._read = len(data)
        self._turned = False
        if self._part is None:  # a request, or one of the empty lines that may come before it
            self._part, self._fresh, self._other = "head", True, 0
        body = self._body
        if self._parse(data) and not self._turned:
            self._count(len(data), self._body - body)

    def _parse(self, data: bytes) -> bool:
        while data:
            try:
                self.parser.feed_data(data)
                return True
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade(data[upgrade.args[0] :])
            except httptools.HttpParserError:
                if self._enough:
                    self._hear_no_more()
                else:
                    self.refuse(self._refusal)
                return False
        return True

    def _count(self, received: int, body: int) -> None:
        self._other += received - body
        if self._part == "head":
            if self._other > self.max_head_bytes:
                self.refuse(refusals.OVER_HEAD)
        elif self._part == "body":
            self._other = max(0, self._other - body * self.framing_per_byte)
            if self._other > self.max_framing_bytes:
                self.refuse(refusals.OVER_FRAMING)

    def _hear_no_more(self) -> None:
        """Close the connection after the answer to the last request that was parsed."""
        self._deaf = True
        self.cycle.keep_alive = False

    def _without_upgrade(self, rest: bytes) -> bytes:
        """The request that asked for another protocol as one that did not, and what came with it.

        A server may ignore the wish (RFC 9110, 7.8), but httptools then takes the request for one
        without a body, and the body for the next request.
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
        if self._deaf or len(self.pipeline) >= self.max_waiting:
            self._enough = True
            raise _StopError
        self._part, self._fresh, self._turned, self._other = "head", True, True, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._part == "head":  # as uvicorn does it; there are some ten a request
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))
            return
        # A trailer. Nothing asks for any; and headers decide who is asking (RFC 9110, 6.5.1).
        self._trailers += len(name) + len(value)
        if self._trailers > self.max_trailer_bytes:
            raise self._over(refusals.OVER_TRAILERS)

    def on_headers_complete(self) -> None:
        if len(self.headers) > self.max_headers or (
            self._other + self._read > self.max_head_bytes
            and self._head_bytes() > self.max_head_bytes
        ):
            raise self._over(refusals.OVER_HEAD)
        if self.parser.should_upgrade():
            if self._method() == b"CONNECT":
                raise self._over(refusals.NO_TUNNEL)
            self._upgrading = True
            return
        super().on_headers_complete()
        self._part, self._turned, self._other, self._trailers = "body", True, 0, 0

    def on_body(self, body: bytes) -> None:
        # As uvicorn does it, but for Upgrades: the smallest chunks come by ten thousands.
        self._body += len(body)
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
            self._deaf = True

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _over(self, refusal: Refusal) -> Exception:
        self._refusal = refusal
        return _StopError(refusal)
