"""The tenant beside an attack: sends small requests one after another, and times each."""

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import quantiles
from urllib.parse import urlsplit

from benchmarks.seeds import SERIES_KEY, START
from benchmarks.servers import Server

# Longer than any attack. A request that takes this long counts as failed, with this wait.
GIVE_UP_SECONDS = 20.0


@dataclass
class Waits:
    """The wait of each request in seconds, and the failures by answer or error."""

    seconds: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def longest(self) -> float:
        return max(self.seconds)

    @property
    def p50(self) -> float:
        return self._percentile(50)

    @property
    def p99(self) -> float:
        return self._percentile(99)

    def _percentile(self, percent: int) -> float:
        if len(self.seconds) < 2:
            return self.longest
        return quantiles(self.seconds, n=100, method="inclusive")[percent - 1]


class Victim:
    """Sends `requests` over one keep-alive connection."""

    def __init__(self, server: Server, requests: Iterator[bytes]) -> None:
        url = urlsplit(server.url)
        self._address = (url.hostname or "", url.port or 80)
        self._requests = requests
        self._connection: socket.socket | None = None

    def send_while(self, keep_going: Callable[[], bool]) -> Waits:
        """Sends at least one request, and more while `keep_going()`."""
        waits = Waits()
        while True:
            request = next(self._requests)
            started = time.perf_counter()
            try:
                status = self._ask(request)
            except OSError as error:
                status = str(error) or type(error).__name__
                self.close()
            waits.seconds.append(time.perf_counter() - started)
            if status != "200":
                waits.failures[status] += 1
            if not keep_going():
                return waits

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, request: bytes) -> str:
        if self._connection is None:
            self._connection = socket.create_connection(self._address, timeout=GIVE_UP_SECONDS)
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection.sendall(request)
        answer = b""
        while not _is_complete(answer):
            received = self._connection.recv(1 << 16)
            if not received:
                raise ConnectionResetError("the connection was closed")
            answer += received
        return answer.split(b" ", 2)[1].decode()


def _is_complete(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
    return len(body) >= int(length)


def log_metric(server: Server, run_id: str, key: str) -> Iterator[bytes]:
    """Requests that log the points of one metric, one each."""
    step = 0
    while True:
        step += 1
        body = f'{{"run_id":"{run_id}","key":"{SERIES_KEY}","value":0.5,'
        body += f'"timestamp":{START + step},"step":{step}}}'
        yield _request(server, "POST", server.path("runs/log-metric"), key, body)


def put_files(server: Server, folder: str, key: str) -> Iterator[bytes]:
    """Requests that store files of 1 KiB in a folder, under a hundred names in turn."""
    number = 0
    while True:
        number += 1
        yield _request(server, "PUT", f"{folder}/{number % 100}.txt", key, "x" * 1024)


def _request(server: Server, method: str, path: str, key: str, body: str) -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: {urlsplit(server.url).netloc}\r\n"
        f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
