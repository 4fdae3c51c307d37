"""The process that abuses the service: a few threads, each with a plain socket.

It is a process of its own, and does as little as it can: what is measured is what the server makes
of its requests, and the clock of the tenant beside it must not wait for it.
"""

import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from itertools import cycle
from multiprocessing.connection import Connection

from benchmarks.abuse.plan import Answer, Manner, Plan, Request
from benchmarks.wrk import FIRST_NUMBER

PIECE = 1 << 18
PAUSE = 0.05  # seconds between an answer and the client's next request
NUMBERS_APART = 10_000  # of two clients' requests: more than one sends
TRICKLE = b" " * 100  # every second
TRAILERS = b"x-trailer: 0123456789\r\n" * 2_000
# So long after its beginning the abuse ends, whatever was not answered until then.
CUT_OFF_SECONDS = 15.0

NO_ANSWER = "no answer"
HELD = "held"  # to the end, without an answer
CLOSED = "closed"


def work(
    host: str, port: int, key: str, plan: Plan, clients: int, seconds: float, pipe: Connection
) -> None:
    """Tell that it is ready, wait for a word, abuse, and give the answers back."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it ends it
    pipe.send("ready")
    pipe.recv()
    started = time.monotonic()
    crowd = [
        _Client(host, port, key, plan, FIRST_NUMBER + number * NUMBERS_APART, started + seconds)
        for number in range(clients)
    ]
    threads = [threading.Thread(target=one.run, daemon=True) for one in crowd]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.send([answer for one in crowd for answer in one.answers])


class _Client:
    def __init__(
        self, host: str, port: int, key: str, plan: Plan, number: int, ends: float
    ) -> None:
        self.answers: list[Answer] = []
        self._address = (host, port)
        self._key = key
        self._plan = plan
        self._number = number
        self._ends = ends
        self._cut_off = time.monotonic() + CUT_OFF_SECONDS

    def run(self) -> None:
        act = _MANNERS[self._plan.manner]
        for request in cycle(self._plan.requests):
            self._number += 1
            started = time.monotonic()
            try:
                with self._connected() as connection:
                    outcome = act(self, connection, request)
            except (OSError, HTTPException):  # cut off, by us or by the server
                outcome = NO_ANSWER
            self.answers.append(Answer(outcome, time.monotonic() - started))
            time.sleep(PAUSE)
            if time.monotonic() >= self._ends:
                return

    def _connected(self) -> socket.socket:
        connection = socket.socket()
        if self._plan.manner == "unread":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(self._remaining())
        connection.connect(self._address)
        return connection

    def _remaining(self) -> float:
        """Raises TimeoutError where there is no time left."""
        seconds = self._cut_off - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    def ask(self, connection: socket.socket, request: Request) -> str:
        self._send(connection, self._head(request), request.numbered_body(self._number))
        return self._answer(connection)

    def trickle(self, connection: socket.socket, request: Request) -> str:
        self._cut_off = self._ends  # also where the server does not take the beginning
        try:
            self._send(connection, self._head(request), request.body)
            while not select.select([connection], [], [], min(self._remaining(), 1))[0]:
                self._send(connection, TRICKLE)
        except TimeoutError:
            return HELD
        return self._answer(connection)

    def unread(self, connection: socket.socket, request: Request) -> str:
        """Whether the server cuts it off is seen without reading."""
        connection.sendall(self._head(request) + request.body)
        watch = select.poll()
        watch.register(connection, select.POLLHUP | select.POLLERR | select.POLLRDHUP)
        closed = watch.poll(max(self._ends - time.monotonic(), 0) * 1000)
        return f"{_peeked(connection)}, {CLOSED if closed else HELD}"

    def trailers(self, connection: socket.socket, request: Request) -> str:
        """It goes on after an answer, for as long as the server takes what it sends."""
        head = request.head(self._host, self._key, self._number, chunked=True)
        body = b"%x\r\n%b\r\n0\r\n" % (len(request.body), request.body)
        connection.sendall(head + body)
        connection.settimeout(1)
        try:
            while time.monotonic() < self._ends:
                connection.sendall(TRAILERS)
        except TimeoutError:
            pass  # nobody reads them
        except OSError:
            return f"{_peeked(connection)}, {CLOSED}"
        return f"{_peeked(connection)}, {HELD}"

    @property
    def _host(self) -> str:
        return f"{self._address[0]}:{self._address[1]}"

    def _head(self, request: Request) -> bytes:
        return request.head(self._host, self._key, self._number)

    def _send(self, connection: socket.socket, *parts: bytes) -> None:
        """All of it, or until an answer comes: a body may be refused before it has arrived."""
        connection.setblocking(False)
        for part in parts:
            rest = memoryview(part)
            while rest:
                readable, writable, _ = select.select(
                    [connection], [connection], [], self._remaining()
                )
                if readable:
                    return
                if writable:
                    rest = rest[connection.send(rest[:PIECE]) :]

    def _answer(self, connection: socket.socket) -> str:
        connection.settimeout(self._remaining())
        response = HTTPResponse(connection)
        response.begin()
        buffer = bytearray(PIECE)
        while response.readinto(buffer):
            connection.settimeout(self._remaining())
        return str(response.status)


def _peeked(connection: socket.socket) -> str:
    """The status that lies in the socket, if any does."""
    connection.setblocking(False)
    try:
        words = connection.recv(20, socket.MSG_PEEK).split()
    except OSError:
        return NO_ANSWER
    return words[1].decode() if len(words) > 1 else NO_ANSWER


_MANNERS: dict[Manner, Callable[[_Client, socket.socket, Request], str]] = {
    "ask": _Client.ask,
    "trickle": _Client.trickle,
    "unread": _Client.unread,
    "trailers": _Client.trailers,
}
