"""Clients that do not take what they asked for."""

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from app.http.protocol import BoundedHttp
from app.http.response_writer import CLIENT_DISCONNECTED, SLICE_BYTES
from tests.conftest import Postgres, new_slug
from tests.security.raw import received
from tests.security.test_slow_clients import Impatient, calling

API = "/api/2.0/mlflow"
KIB = 1024
LARGE = 32 << 20
DEADLINE = 15.0
# A client's buffer, and the server's: else the kernel would take megabytes by itself.
SMALL_BUFFER = 16 * KIB


@dataclass
class Server:
    """Answers `GET /<bytes>` with so many, in one message, and `/<bytes>/<pieces>` in several."""

    port: int = 0
    ended: int = 0
    lost: int = 0
    gone: list[bool] = field(default_factory=list)
    largest_buffer: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        size, _, pieces = scope["path"].strip("/").partition("/")
        head = [(b"content-length", size.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        left = int(pieces or 1)
        piece = bytes(int(size) // left)
        while left:
            left -= 1
            await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
        self.gone.append(CLIENT_DISCONNECTED in scope["state"])
        self.ended += 1

    def ask(self, path: str, *headers: str, buffer: int = SMALL_BUFFER) -> socket.socket:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.settimeout(DEADLINE)
        client.connect(("127.0.0.1", self.port))
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", *headers]
        client.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return client


@pytest.fixture(params=["uvloop", "asyncio"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    app = Server()

    class Observed(BoundedHttp):
        window_seconds = 0.5

        def pause_writing(self) -> None:
            size = self.transport.get_write_buffer_size()
            app.largest_buffer = max(app.largest_buffer, size)
            super().pause_writing()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            app.lost += 1

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
        app.port = listening.getsockname()[1]
        config = uvicorn.Config(
            app, http=Observed, loop=request.param, ws="none", lifespan="off", log_config=None
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


def until(condition: Any) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_cut_off(client: socket.socket) -> bool:
    """Whether the server resets the connection, with next to nothing left in the kernel."""
    assert len(client.recv(LARGE, socket.MSG_WAITALL)) < 256 * KIB
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("path", [f"/{LARGE}", f"/{LARGE}/4", f"/{LARGE}/4096"])
def test_a_client_that_takes_nothing(
    server: Server, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The application is told by an end of its waiting, and nothing is logged as an error."""
    with server.ask(path) as client:
        until(lambda: server.ended == 1)
        assert server.gone == [True]
        assert is_cut_off(client)
    assert server.largest_buffer <= 2 * SLICE_BYTES
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_a_client_that_takes_next_to_nothing(server: Server) -> None:
    with server.ask(f"/{LARGE}") as client:
        until(lambda: not client.recv(100) or server.ended)
    assert server.gone == [True]


@pytest.mark.parametrize("headers", [[], ["Connection: close"]])
def test_a_client_that_takes_nothing_of_what_is_left(server: Server, headers: list[str]) -> None:
    """The application has handed over all of it, and the connection is closed or kept alive."""
    with server.ask(f"/{SLICE_BYTES}", *headers) as client:
        until(lambda: server.ended == 1)
        assert server.gone == [False]
        until(lambda: server.lost == 1)
        assert is_cut_off(client)


def test_a_client_that_asks_again_and_again(server: Server) -> None:
    """And takes none of the answers."""
    with server.ask("/100000") as client:

        def is_reset() -> bool:
            try:
                client.sendall(b"GET /100000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            except ConnectionError:
                return True
            return False

        until(is_reset)
    assert server.largest_buffer <= 2 * SLICE_BYTES


def test_a_slow_client_gets_all(server: Server) -> None:
    """Over many windows."""
    size = 1 << 20
    with server.ask(f"/{size}") as client:
        taken = b""
        while len(taken) < size:
            some = client.recv(64 * KIB)
            assert some
            taken += some
            time.sleep(0.05)
    until(lambda: server.ended == 1)
    assert server.gone == [False]


def test_a_fast_client_gets_all(server: Server) -> None:
    some = 4 * SLICE_BYTES
    for path in (
        f"/{some}",
        f"/{some}/2",
        f"/{some}/64",
        "/0",
        "/1",
        f"/{SLICE_BYTES}",
        f"/{SLICE_BYTES + 1}",
    ):
        answer = httpx.get(f"http://127.0.0.1:{server.port}{path}")
        assert len(answer.content) == int(path.split("/")[1])


async def test_what_the_service_does_then(
    postgres: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It counts the answer as one that its client did not get."""
    tenant = f"/t/{new_slug()}"
    async with calling(postgres, tmp_path, Impatient, tenant) as (url, client):
        created = await client.post(f"{API}/experiments/create", json={"name": "large"})
        experiment = created.json()["experiment_id"]
        tags = [{"key": f"t{number}", "value": "v" * 5000} for number in range(50)]
        for _ in range(40):
            body = {"experiment_id": experiment, "tags": tags}
            assert (await client.post(f"{API}/runs/create", json=body)).status_code == 200
        search = json.dumps({"experiment_ids": [experiment], "max_results": 40}).encode()
        whole = await client.post(
            f"{API}/runs/search", content=search, headers={"content-type": "application/json"}
        )
        assert len(whole.content) > 7 << 20
        where = httpx.URL(url)
        with socket.socket() as unread:
            unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
            unread.settimeout(DEADLINE)
            await asyncio.to_thread(unread.connect, (where.host, where.port))
            unread.sendall(
                f"POST {tenant}{API}/runs/search HTTP/1.1\r\nHost: localhost\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(search)}\r\n\r\n".encode()
                + search
            )
            counted = 'route="/api/2.0/mlflow/runs/search",status="499"'
            for _ in range(100):
                if counted in (metrics := await client.get(f"{url}/metrics")).text:
                    break
                await asyncio.sleep(0.1)
            assert counted in metrics.text
            assert len(await asyncio.to_thread(received, unread)) < 1 << 20
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []
