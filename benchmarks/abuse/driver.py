"""The attacking process: a few threads, each with a plain socket.

It is a separate process and uses little CPU, so that it does not delay the measurements of the
other tenant.
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

from benchmarks.abuse.plan import Answer, Mode, Plan, Request
from benchmarks.wrk import FIRST_NUMBER

PIECE = 1 << 18
PAUSE = 0.05  # seconds between an answer and the client's next request
NUMBERS_APART = 10_000  # distance of two clients' first numbers; each sends fewer requests
TRICKLE = b" " * 100  # sent every second
TRAILERS = b"x-trailer: 0123456789\r\n" * 2_000
# The attack ends this long after its start, whether or not its requests are answered.
CUT_OFF_SECONDS = 15.0

NO_ANSWER = "no answer"
HELD = "held"  # open to the end, without an answer
CLOSED = "closed"


def work(
    host: str, port: int, key: str, plan: Plan, clients: int, seconds: float, pipe: Connection
) -> None:
    """Sends "ready" over `pipe`, waits for a message, attacks, and sends back its answers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process ends this one
    pipe.send("ready")
    pipe.recv()
    started = time.monotonic()
    attackers = [
        _Client(host, port, key, plan, FIRST_NUMBER + number * NUMBERS_APART, started + seconds)
        for number in range(clients)
    ]
    threads = [threading.Thread(target=attacker.run, daemon=True) for attacker in attackers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.send([answer for attacker in attackers for answer in attacker.answers])


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
        act = _MODES[self._plan.mode]
        for request in cycle(self._plan.requests):
            self._number += 1
            started = time.monotonic()
            try:
                with self._connected() as connection:
                    outcome = act(self, connection, request)
            except (OSError, HTTPException):  # cut off, by this client or by the server
                outcome = NO_ANSWER
            self.answers.append(Answer(outcome, time.monotonic() - started))
            time.sleep(PAUSE)
            if time.monotonic() >= self._ends:
                return

    def _connected(self) -> socket.socket:
        connection = socket.socket()
        if self._plan.mode == "unread":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(self._remaining())
        connection.connect(self._address)
        return connection

    def _remaining(self) -> float:
        """Seconds until the attack ends. Raises TimeoutError if none are left."""
        seconds = self._cut_off - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    def ask(self, connection: socket.socket, request: Request) -> str:
        self._send(connection, self._head(request), request.numbered_body(self._number))
        return self._answer(connection)

    def trickle(self, connection: socket.socket, request: Request) -> str:
        self._cut_off = self._ends  # also if the server does not read the first part
        try:
            self._send(connection, self._head(request), request.body)
            while not select.select([connection], [], [], min(self._remaining(), 1))[0]:
                self._send(connection, TRICKLE)
        except TimeoutError:
            return HELD
        return self._answer(connection)

    def unread(self, connection: socket.socket, request: Request) -> str:
        """Does not read; notices by polling if the server closes the connection."""
        connection.sendall(self._head(request) + request.body)
        watch = select.poll()
        watch.register(connection, select.POLLHUP | select.POLLERR | select.POLLRDHUP)
        closed = watch.poll(max(self._ends - time.monotonic(), 0) * 1000)
        return f"{_status_received(connection)}, {CLOSED if closed else HELD}"

    def trailers(self, connection: socket.socket, request: Request) -> str:
        """Goes on after an answer, for as long as the server reads."""
        head = request.head(self._host, self._key, self._number, chunked=True)
        body = b"%x\r\n%b\r\n0\r\n" % (len(request.body), request.body)
        connection.sendall(head + body)
        connection.settimeout(1)
        try:
            while time.monotonic() < self._ends:
                connection.sendall(TRAILERS)
        except TimeoutError:
            pass  # the server no longer reads
        except OSError:
            return f"{_status_received(connection)}, {CLOSED}"
        return f"{_status_received(connection)}, {HELD}"

    @property
    def _host(self) -> str:
        return f"{self._address[0]}:{self._address[1]}"

    def _head(self, request: Request) -> bytes:
        return request.head(self._host, self._key, self._number)

    def _send(self, connection: socket.socket, *parts: bytes) -> None:
        """Sends all parts, or stops when an answer comes: the server may refuse a body early."""
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


def _status_received(connection: socket.socket) -> str:
    """The status of an answer in the socket's receive buffer, or NO_ANSWER."""
    connection.setblocking(False)
    try:
        words = connection.recv(20, socket.MSG_PEEK).split()
    except OSError:
        return NO_ANSWER
    return words[1].decode() if len(words) > 1 else NO_ANSWER


_MODES: dict[Mode, Callable[[_Client, socket.socket, Request], str]] = {
    "ask": _Client.ask,
    "trickle": _Client.trickle,
    "unread": _Client.unread,
    "trailers": _Client.trailers,
}
