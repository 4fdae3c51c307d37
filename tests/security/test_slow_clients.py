"""Clients that send next to nothing, for as long as they are let: nobody else notices them."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import uvicorn

from app.config import Settings
from app.http.protocol import BoundedHttp
from app.main import create_app
from tests.conftest import Postgres, free_port, new_slug

CREATE = "/api/2.0/mlflow/runs/create"
SLOW = 60


class Impatient(BoundedHttp):
    """The same with a window that tests can wait for."""

    window_seconds = 0.6


@asynccontextmanager
async def serving(
    postgres: Postgres, data_dir: Path, protocol: type[BoundedHttp]
) -> AsyncIterator[str]:
    """A server in this process, with two connections to Postgres."""
    settings = Settings(
        _env_file=None,
        database_url=postgres.app_url,
        data_dir=data_dir,
        database_pool_size=2,
        auto_create_tenants=True,
    )
    port = free_port()
    config = uvicorn.Config(
        create_app(settings), port=port, http=protocol, ws="none", log_level="critical"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(), name="uvicorn")
    while not server.started:
        assert not task.done()
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def calling(
    postgres: Postgres, data_dir: Path, protocol: type[BoundedHttp], tenant: str
) -> AsyncIterator[tuple[str, httpx.AsyncClient]]:
    """The same, with a client of that tenant."""
    async with (
        serving(postgres, data_dir, protocol) as url,
        httpx.AsyncClient(base_url=url + tenant, timeout=10) as client,
    ):
        yield url, client


@asynccontextmanager
async def slow_requests(url: str, paths: list[str]) -> AsyncIterator[list[asyncio.Task[bytes]]]:
    """Requests of which a byte comes now and then; each task ends with what the server sent."""
    where = httpx.URL(url)

    async def trickle(begin: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(where.host, where.port)
        try:
            writer.write(begin)
            answer = asyncio.create_task(reader.read())
            while not answer.done():
                writer.write(b" ")
                await asyncio.wait([answer], timeout=0.1)
            return await answer
        except ConnectionError:
            return b""
        finally:
            writer.close()

    begins = [
        f"{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Content-Length: 100000\r\n\r\n{".encode()
        if path
        else b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: "
        for path in paths
    ]
    tasks = [asyncio.create_task(trickle(begins[number % len(begins)])) for number in range(SLOW)]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until_open(url: str, client: httpx.AsyncClient, count: int) -> None:
    """Until the server has begun that many requests, beside the one that asks it."""
    async with asyncio.timeout(30):
        while True:
            metrics = (await client.get(f"{url}/metrics")).text
            (told,) = re.findall(r"^tracking_open_requests (\d+)", metrics, re.MULTILINE)
            if int(told) > count:
                return
            await asyncio.sleep(0.02)


async def a_run(client: httpx.AsyncClient) -> tuple[str, str]:
    run = (await client.post(CREATE, json={})).json()["run"]["info"]
    return run["run_id"], run["artifact_uri"].removeprefix("mlflow-artifacts:/")


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_byte_now_and_then_blocks_nobody(postgres: Postgres, tmp_path: Path) -> None:
    """Sixty slow bodies hold none of the two connections to Postgres, and no thread."""
    tenant = f"/t/{new_slug()}"
    async with calling(postgres, tmp_path, BoundedHttp, tenant) as (url, client):
        run_id, root = await a_run(client)
        paths = [
            f"POST {tenant}{CREATE}",
            f"POST {tenant}/api/2.0/mlflow/runs/log-batch",
            f"PUT {tenant}/api/2.0/mlflow-artifacts/artifacts/{root}/slow.bin",
            f"POST {tenant}/api/v1/experiments",
            f"POST {tenant}/api/v1/experiments/runs/{run_id}/log-metrics",
            "",
        ]
        async with slow_requests(url, paths) as slow:
            await until_open(url, client, SLOW * (len(paths) - 1) // len(paths))
            for number in range(30):
                await a_run(client)
                sent = await client.put(
                    f"/api/2.0/mlflow-artifacts/artifacts/{root}/{number}", content=b"x"
                )
                assert sent.status_code == 200
            assert not any(task.done() for task in slow)


async def test_they_are_cut_off(postgres: Postgres, tmp_path: Path) -> None:
    tenant = f"/t/{new_slug()}"
    async with calling(postgres, tmp_path, Impatient, tenant) as (url, client):
        _, root = await a_run(client)
        upload = f"/api/2.0/mlflow-artifacts/artifacts/{root}/slow.bin"
        paths = [f"POST {tenant}{CREATE}", f"PUT {tenant}{upload}", ""]
        async with slow_requests(url, paths) as slow:
            answers = await asyncio.wait_for(asyncio.gather(*slow), 15)
        assert {answer.split(b" ", 2)[1] for answer in answers if answer} == {b"408"}
        assert (await client.get(upload)).status_code == 404
    assert files_in(tmp_path) == []


async def test_a_slow_upload_that_makes_progress_goes_on(
    postgres: Postgres, tmp_path: Path
) -> None:
    """It takes several windows, in each of which enough comes."""

    async def body() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield bytes(4096)
            await asyncio.sleep(0.1)

    tenant = f"/t/{new_slug()}"
    async with calling(postgres, tmp_path, Impatient, tenant) as (_, client):
        _, root = await a_run(client)
        upload = f"/api/2.0/mlflow-artifacts/artifacts/{root}/steady.bin"
        assert (await client.put(upload, content=body())).status_code == 200
        assert len((await client.get(upload)).content) == 20 * 4096


async def test_a_connection_that_sends_nothing(postgres: Postgres, tmp_path: Path) -> None:
    async with serving(postgres, tmp_path, Impatient) as url:
        where = httpx.URL(url)
        reader, writer = await asyncio.open_connection(where.host, where.port)
        answer = await asyncio.wait_for(reader.read(), 15)
        assert answer.split(b" ", 2)[1] == b"408"
        writer.close()


async def test_an_idle_client_is_left_alone(postgres: Postgres, tmp_path: Path) -> None:
    """Between two requests of a connection uvicorn's keep-alive applies, which is longer."""
    async with serving(postgres, tmp_path, Impatient) as url:
        where = httpx.URL(url)
        reader, writer = await asyncio.open_connection(where.host, where.port)
        for pause in (2 * Impatient.window_seconds, 2 * Impatient.window_seconds, 0):
            writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = await asyncio.wait_for(reader.readuntil(b"}"), 15)
            assert answer.startswith(b"HTTP/1.1 200")
            await asyncio.sleep(pause)
        writer.close()
