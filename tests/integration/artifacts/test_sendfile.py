"""Downloads of files that the kernel sends: over real sockets, on both event loops."""

import asyncio
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.file_response import ReaderResponse
from app.artifacts.stores.local import LocalStore
from app.http.protocol import BoundedHttp
from app.http.sendfile import EXTENSION, supports

SIZE = (8 << 20) + 12_345  # more than a socket takes at once
CONTENT = random.Random(5).randbytes(SIZE)
DEADLINE = 10


class Impatient(BoundedHttp):
    """The same with a window that tests can wait for."""

    window_seconds = 0.5


@dataclass
class Server:
    """Answers `GET /?start=…&end=…` with those bytes of one stored file."""

    store: LocalStore
    file: Path
    port: int = 0
    answers: int = 0  # that have ended
    by_kernel: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        query = {name: int(value) for name, value in parse_qsl(scope["query_string"].decode())}
        reader = await self.store.open(
            "acme", "a.bin", start=query.get("start", 0), end=query.get("end")
        )

        async def observed(message: Any) -> None:
            self.by_kernel += message["type"] == EXTENSION
            await send(message)

        length = str(query.get("claimed", reader.end - reader.start))
        try:
            answer = ReaderResponse(reader, 200, {"Content-Length": length})
            await answer(scope, receive, observed)
        finally:
            self.answers += 1

    def connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)

    def ask(self, path: str = "/") -> socket.socket:
        """A client that has asked and takes nothing yet; its buffer is small."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        client.settimeout(DEADLINE)
        client.connect(("127.0.0.1", self.port))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return client


@pytest.fixture(params=["uvloop", "asyncio"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    store = LocalStore(tmp_path)
    file = tmp_path / "acme" / "a.bin"
    file.parent.mkdir()
    file.write_bytes(CONTENT)
    app = Server(store, file)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        app.port = listening.getsockname()[1]
        config = uvicorn.Config(
            app, http=Impatient, loop=request.param, ws="none", lifespan="off", log_config=None
        )
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield app
        finally:
            running.should_exit = True
            thread.join(DEADLINE)
    assert not thread.is_alive()
    asyncio.run(store.close())


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def download_ranges(server: Server) -> None:
    client = server.connect()
    ranges = [(0, SIZE), (1, SIZE), (SIZE - 300_000, SIZE), (7, 8), (5, 5), (0, 2 << 20)]
    for start, end in ranges:
        client.request("GET", f"/?start={start}&end={end}")
        assert client.getresponse().read() == CONTENT[start:end]
    client.close()
    until(lambda: server.answers % len(ranges) == 0)


def test_many_answers_on_one_connection(server: Server) -> None:
    download_ranges(server)
    assert server.by_kernel == 4  # the short ones are not worth it


@given(
    start=st.integers(0, SIZE),
    length=st.one_of(st.integers(0, SIZE), st.integers(262_140, 262_150)),
)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_range(server: Server, start: int, length: int) -> None:
    client = server.connect()
    client.request("GET", f"/?start={start}&end={start + length}")
    assert client.getresponse().read() == CONTENT[start : start + length]
    client.close()


def test_requests_that_do_not_wait_for_answers(server: Server) -> None:
    with server.ask("/?end=400000") as client:
        client.sendall(b"GET /?start=400000&end=800000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.sendall(b"GET /?start=10&end=20 HTTP/1.1\r\nHost: l\r\nConnection: close\r\n\r\n")
        received = b"".join(iter(lambda: client.recv(1 << 20), b""))
    bodies = [answer.partition(b"\r\n\r\n")[2] for answer in received.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [CONTENT[:400_000], CONTENT[400_000:800_000], CONTENT[10:20]]


def test_a_slow_client_gets_all(server: Server) -> None:
    with server.ask() as client:
        received = bytearray()
        while not received.endswith(CONTENT[-20:]):
            if len(received) < 1 << 20:
                time.sleep(0.01)
            received += client.recv(64 * 1024)
    assert bytes(received).partition(b"\r\n\r\n")[2] == CONTENT


def test_a_client_that_hangs_up_leaves_nothing_open(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    download_ranges(server)
    opened = open_files()
    for _ in range(6):
        with server.ask() as client:
            client.recv(1000)
    until(lambda: server.answers == 12)
    until(lambda: open_files() <= opened)
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []
    download_ranges(server)


def test_a_client_that_takes_nothing_is_cut_off(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    download_ranges(server)
    opened = open_files()
    with server.ask() as client:
        until(lambda: server.answers == 7)
        until(lambda: open_files() <= opened + 1)  # the client's
        # What the kernel kept for it is gone, too.
        assert len(client.recv(SIZE, socket.MSG_WAITALL)) < 1 << 20
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_a_client_that_takes_a_little_all_the_time_goes_on(server: Server) -> None:
    """Four windows long, in each of which it takes enough; what the kernel has ahead of it is more
    than all of that, so that the server itself sees nothing leave."""
    with server.ask() as client:
        received = 0
        for _ in range(20):
            received += len(client.recv(32 * 1024))
            time.sleep(0.1)
        while some := client.recv(1 << 20):
            received += len(some)
            if received > SIZE:
                break
    assert received > SIZE


def test_a_file_that_ends_early_ends_the_connection(server: Server) -> None:
    with server.ask() as client:
        client.recv(1000)
        os.truncate(server.file, 7 << 20)
        until(lambda: len(client.recv(1 << 20)) == 0)
    until(lambda: server.answers == 1)


def test_no_more_than_was_declared(server: Server) -> None:
    client = server.connect()
    client.request("GET", "/?claimed=300000")
    with pytest.raises(IncompleteRead):
        client.getresponse().read()
    client.close()


def test_tls_has_to_see_the_bytes() -> None:
    assert supports({"method": "GET", "scheme": "http"})
    assert not supports({"method": "GET", "scheme": "https"})
