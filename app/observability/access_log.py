"""A line for each answered request.

They do not go through the logging module, which would cost more than the rest of the middleware;
and they are written by a thread, so that a reader of the log that is slow stops no request.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

import msgspec

from app.observability.logs import Format, one_line, printable

Requests = Literal["all", "notable", "off"]

# A write of up to so many bytes to a pipe is never mixed with another worker's (PIPE_BUF).
_ATOMIC_BYTES = 4096
# How long lines may wait for others, in seconds, and how many wait for a reader that does not read.
_PAUSE = 0.05
_MAX_WAITING = 20_000


class Line(msgspec.Struct, omit_defaults=True):
    """`duration_ms` from the head of the request to the end of the answer; `bytes` of its body."""

    time: datetime
    level: str
    logger: str
    message: str
    request_id: str
    method: str
    route: str
    status: int
    duration_ms: float
    bytes: int
    tenant: str | None = None
    caller: str | None = None


class AccessLog:
    """`requests` tells whether all are written, those alone that failed, were refused for who was
    asking or how much, or took at least `slow` seconds, or none."""

    def __init__(self, requests: Requests, format: Format, *, slow: float, fd: int = 2) -> None:
        self._all = requests == "all"
        self._notable = requests == "notable"
        self._slow = slow
        self._encode = msgspec.json.encode if format == "json" else _text
        self._fd = fd
        self._waiting: deque[Line] = deque()
        self._dropped = 0
        self._some = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """What was added before is written too."""
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="access-log", daemon=True)
        self._thread.start()

    def wants(self, status: int, seconds: float) -> bool:
        return self._all or (
            self._notable and (status >= 500 or status in (401, 403, 429) or seconds >= self._slow)
        )

    def add(
        self,
        *,
        request_id: str,
        method: str,
        route: str,
        status: int,
        seconds: float,
        size: int,
        tenant: str | None,
        caller: str | None,
    ) -> None:
        if len(self._waiting) >= _MAX_WAITING:
            self._dropped += 1
            return
        level = "error" if status >= 500 else "warning" if seconds >= self._slow else "info"
        self._waiting.append(
            Line(
                datetime.now(UTC),
                level,
                "tracking.access",
                "request",
                request_id,
                method,
                route,
                status,
                round(seconds * 1000, 3),
                size,
                tenant,
                caller and printable(caller),
            )
        )
        if not self._some.is_set():
            self._some.set()

    def close(self) -> None:
        """Write what waits."""
        self._closed = True
        self._some.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _write(self) -> None:
        closed = False
        while not closed:
            self._some.wait()
            closed = self._closed  # what was added before it closed is written
            if not closed:
                time.sleep(_PAUSE)
            self._some.clear()
            try:
                for chunk in self._chunks():
                    os.write(self._fd, chunk)
            except OSError:  # the terminal or the reader of the pipe is gone
                self._waiting.clear()

    def _chunks(self) -> Iterator[bytes]:
        chunk = b""
        while self._waiting:
            line = self._encode(self._waiting.popleft()) + b"\n"
            if len(chunk) + len(line) > _ATOMIC_BYTES:
                yield chunk
                chunk = b""
            chunk += line
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            chunk += msgspec.json.encode({"level": "warning", "lines_dropped": dropped}) + b"\n"
        yield chunk


def _text(line: Line) -> bytes:
    words = [f"{line.time:%H:%M:%S}", line.level.upper(), line.method, line.route]
    words += [str(line.status), f"{line.duration_ms:.1f} ms", f"{line.bytes} bytes"]
    words += [f"request_id={line.request_id}"]
    words += [f"tenant={line.tenant}"] if line.tenant else []
    words += [f"caller={line.caller}"] if line.caller else []
    return one_line(printable(" ".join(words))).encode()
