"""What an abusive client does, as the process that does it is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.wrk import NUMBER

Manner = Literal["ask", "trickle", "unread", "trailers"]
"""`ask`: requests one after another, each as fast as the server takes it, with its answer read.
`trickle`: the first of a body at once, and then next to nothing. `unread`: a request whose answer
nobody reads. `trailers`: a chunked body, and header lines behind it that never end."""


@dataclass(frozen=True)
class Request:
    """`NUMBER`, in the path or early in the body, is another one in each request that is sent.

    `length` is the size that a trickled body is said to have, in bytes; `body` is its beginning.
    """

    method: str
    path: str
    body: bytes = b""
    content_type: str = "application/json"
    length: int = 0

    def head(self, host: str, key: str, number: int, *, chunked: bool = False) -> bytes:
        size = f"Content-Length: {self.length or len(self.body)}"
        lines = [
            f"{self.method} {self.path.replace(NUMBER, str(number))} HTTP/1.1",
            f"Host: {host}",
            f"Authorization: Bearer {key}",
            f"Content-Type: {self.content_type}",
            "Transfer-Encoding: chunked" if chunked else size,
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    def numbered_body(self, number: int) -> bytes:
        if NUMBER.encode() not in self.body[:1000]:
            return self.body
        return self.body.replace(NUMBER.encode(), str(number).encode(), 1)


@dataclass(frozen=True)
class Plan:
    """Which requests, in turn, and how.

    `about` says what was seeded, where that depends on what the service takes.
    """

    requests: Sequence[Request]
    manner: Manner = "ask"
    about: str = ""


@dataclass(frozen=True)
class Answer:
    """`outcome` is the status, or what became of the request otherwise."""

    outcome: str
    seconds: float
