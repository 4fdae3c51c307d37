"""Access log: one line for each answered request, written by a thread.

It does not use the logging module, which would cost more than the rest of the middleware. The
thread keeps a slow reader of the log from holding up requests.
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

# Writes to a pipe of up to PIPE_BUF bytes are atomic: workers' lines do not mix.
_ATOMIC_BYTES = 4096
# Lines are collected for this many seconds, and then written together.
_FLUSH_INTERVAL = 0.05
# Lines that wait for a slow reader; more are dropped and counted.
_MAX_WAITING = 20_000


class Line(msgspec.Struct, omit_defaults=True):
    """A line. `duration_ms` is from the head of the request to the end of the response, `bytes` the
    size of the response's body."""

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
    """The access log of a worker, written to the file descriptor `fd`.

    `requests` is which requests are logged: "all"; "notable", those answered 401, 403, 429 or 5xx
    and those that took at least `slow` seconds; or "off".
    """

    def __init__(self, requests: Requests, format: Format, *, slow: float, fd: int = 2) -> None:
        self._all = requests == "all"
        self._notable = requests == "notable"
        self._slow = slow
        self._encode = msgspec.json.encode if format == "json" else _text
        self._fd = fd
        self._waiting: deque[Line] = deque()
        self._dropped = 0
        self._added = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread. Lines that were added before are written too."""
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="access-log", daemon=True)
        self._thread.start()

    def includes(self, status: int, seconds: float) -> bool:
        """Whether a request with that status and duration is logged."""
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
        """Add a line; `seconds` is the duration, `size` the bytes of the response's body."""
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
        if not self._added.is_set():
            self._added.set()

    def close(self) -> None:
        """Write the lines that wait, and end the thread."""
        self._closed = True
        self._added.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _write(self) -> None:
        closed = False
        while not closed:
            self._added.wait()
            if not self._closed:
                time.sleep(_FLUSH_INTERVAL)
            # In this order: a close from here on sets the event again.
            self._added.clear()
            closed = self._closed  # lines that were added before the close are still written
            try:
                for chunk in self._chunks():
                    os.write(self._fd, chunk)
            except OSError:  # the terminal is closed, or the pipe's reader has ended
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
