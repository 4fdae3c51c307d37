"""Refusals: responses of the server itself, for requests that the application does not answer."""

from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE


class Refusal:
    """A complete response in plain text, after which the connection is closed."""

    def __init__(self, status: int, text: str, *more_headers: tuple[bytes, bytes]) -> None:
        self.status = status
        self.body = text.encode()
        self.headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(self.body)),
            (b"connection", b"close"),
            *more_headers,
        ]

    def encode(self, more_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The response as bytes of HTTP/1.1, with additional headers."""
        lines = [b"%s: %s\r\n" % header for header in [*more_headers, *self.headers]]
        return b"".join([STATUS_LINE[self.status], *lines, b"\r\n", self.body])


_RETRY = (b"retry-after", b"1")

MALFORMED = Refusal(400, "This is no valid HTTP request.")
OVER_FRAMING = Refusal(400, "The request's body comes in chunks that are mostly no body.")
NO_TUNNEL = Refusal(405, "This server is no proxy.")
TOO_SLOW = Refusal(408, "The rest of the request did not come.")
OVER_HEAD = Refusal(431, "The request line and the headers are too large, or too many.")
OVER_TRAILERS = Refusal(431, "The trailers of the request are too large.")
TOO_MANY_CONNECTIONS = Refusal(503, "The server has all the connections that it takes.", _RETRY)
STOPPING = Refusal(503, "The server stops before the request is done.", _RETRY)
