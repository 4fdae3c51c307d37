"""The plan of an attack, which is sent to the attacking process."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.wrk import NUMBER

Mode = Literal["ask", "trickle", "unread", "trailers"]
"""How a client sends its requests.

`ask`: one after another, each as fast as the server reads it; reads the answers. `trickle`: the
beginning of a body at once, then 100 bytes a second. `unread`: never reads the answer. `trailers`:
a chunked body with endless trailers.
"""


@dataclass(frozen=True)
class Request:
    """A request. `NUMBER` in the path, or near the start of the body, stands for a unique number.

    For a trickled body, `body` is its beginning and `length` the declared size in bytes.
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
    """Requests to send in turn, and how.

    `about` describes the seeded data, if it depends on the limits of the service.
    """

    requests: Sequence[Request]
    mode: Mode = "ask"
    about: str = ""


@dataclass(frozen=True)
class Answer:
    """`outcome` is the HTTP status, or `held`, `closed` or `no answer`."""

    outcome: str
    seconds: float
