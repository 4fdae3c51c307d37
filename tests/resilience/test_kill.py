"""A real server, killed with SIGKILL at each stage of an upload.

The file is whole or not there, what was there before stays, and garbage collection finds all that
is left and leaves a clean store.
"""

import asyncio
import os
import posixpath
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import pytest_asyncio

from app.artifacts.service import Artifacts
from app.artifacts.stores.contract import ArtifactStore
from app.artifacts.stores.factory import artifact_store
from app.config import Settings
from app.db.database import Database
from app.gc.report import Report
from app.gc.service import GarbageCollector, Policy
from app.kernel.errors import NotFoundError
from app.kernel.tenant import Tenant
from tests.conftest import running_server
from tests.support.processes import Tracking
from tests.support.s3_server import S3Server, s3_settings

MLFLOW = "/api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts"
BODY = os.urandom(20 << 20)
PARTS = [BODY[: 10 << 20], BODY[10 << 20 :]]


@dataclass
class Victim:
    """A server, and a look at what it leaves: its store and its database, opened beside it."""

    url: str
    process: Tracking
    tenant: Tenant
    database: Database
    store: ArtifactStore
    environment: dict[str, str]
    path: str = ""
    sockets: list[socket.socket] = field(default_factory=list)

    async def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        await asyncio.to_thread(self.process.wait)

    async def content(self) -> bytes | None:
        artifacts = Artifacts(self.database, self.store)
        try:
            artifact = await artifacts.get(self.tenant, self.path)
        except NotFoundError:
            return None
        async with await artifacts.open(self.tenant, artifact) as reader:
            return b"".join([chunk async for chunk in reader])

    async def collect(self, *, delete: bool) -> Report:
        collector = GarbageCollector(self.database, self.store)
        return await collector.collect(self.tenant, Policy(delete=delete, grace=-1000))

    async def unfinished(self) -> int:
        return len([one async for one in self.store.unfinished(self.tenant.slug)])

    async def objects(self) -> int:
        return len([one async for one in self.store.keys(self.tenant.slug)])

    def send(self, body: bytes, *, declared: int) -> socket.socket:
        """The head of a PUT, and what there is of its body, once the server asks for that."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        connection = socket.create_connection((host, int(port)))
        self.sockets.append(connection)
        path = f"/t/{self.tenant.slug}{FILES}/artifacts/{self.path}"
        connection.sendall(
            f"PUT {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {declared}\r\n"
            "Expect: 100-continue\r\n\r\n".encode()
        )
        assert b" 100 " in connection.recv(100)
        connection.sendall(body)
        return connection


@pytest_asyncio.fixture(params=["local", "s3"])
async def victim(
    request: pytest.FixtureRequest,
    settings: Settings,
    tenant: Tenant,
    s3: S3Server,
    prefix: str,
    tmp_path: Path,
) -> AsyncIterator[Victim]:
    settings = settings.model_copy(update={"data_dir": tmp_path / "data"})
    environment = {
        "TRACKING_DATABASE_URL": settings.database_url or "",
        "TRACKING_DATA_DIR": str(settings.data_dir),
    }
    if request.param == "s3":
        settings = s3_settings(settings, s3, prefix, minio_public_endpoint=f"http://{s3.endpoint}")
        environment |= {
            "TRACKING_MINIO_ENDPOINT": s3.endpoint,
            "TRACKING_MINIO_ACCESS_KEY": s3.access_key,
            "TRACKING_MINIO_SECRET_KEY": s3.secret_key,
            "TRACKING_MINIO_BUCKET_PREFIX": prefix,
            "TRACKING_MINIO_PUBLIC_ENDPOINT": f"http://{s3.endpoint}",
        }
    store = artifact_store(settings)
    assert settings.database_url
    database = Database(settings.database_url, pool_size=2)
    with running_server(environment, tmp_path / "log") as (url, process):
        victim = Victim(url, process, tenant, database, store, environment)
        async with httpx.AsyncClient(base_url=f"{url}/t/{tenant.slug}") as client:
            created = await client.post(f"{MLFLOW}/runs/create", json={"experiment_id": "0"})
            uri = created.json()["run"]["info"]["artifact_uri"]
            victim.path = posixpath.join(uri.removeprefix("mlflow-artifacts:/"), "d/a.bin")
            put = await client.put(f"{FILES}/artifacts/{victim.path}", content=b"before")
            assert put.status_code == 200
        yield victim
        for connection in victim.sockets:
            connection.close()
    await store.close()
    await database.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # it happens in other processes


async def assert_as_before(victim: Victim, *, left: bool = True) -> None:
    """What was there before is there, and garbage collection removes the rest, if any is `left`."""
    assert await victim.content() == b"before"
    found = await victim.collect(delete=False)
    assert found.clean is not left
    assert (found.lost.count, found.files.count) == (0, 0)
    await victim.collect(delete=True)
    assert (await victim.collect(delete=False)).clean
    assert await victim.content() == b"before"
    assert (await victim.objects(), await victim.unfinished()) == (1, 0)


class TestProxied:
    async def test_before_the_first_byte(self, victim: Victim) -> None:
        await asyncio.to_thread(victim.send, b"", declared=len(BODY))
        await victim.kill()
        await assert_as_before(victim, left=False)

    async def test_in_the_middle(self, victim: Victim) -> None:
        await asyncio.to_thread(victim.send, BODY[: 15 << 20], declared=len(BODY))

        async def some_stored() -> bool:
            return await victim.unfinished() == 1

        await until(some_stored)
        await victim.kill()
        await assert_as_before(victim)

    async def test_after_the_object_and_before_its_row(self, victim: Victim) -> None:
        async with await connect(victim) as holder:
            await lock_row(holder, victim)
            await asyncio.to_thread(victim.send, BODY, declared=len(BODY))
            await until_waiting(holder)
            await victim.kill()
            await end_waiting(holder)
        await assert_as_before(victim)


def connect(victim: Victim) -> Any:
    """As the server's own role, which may end its own connections."""
    return psycopg.AsyncConnection.connect(victim.environment["TRACKING_DATABASE_URL"])


async def lock_row(holder: psycopg.AsyncConnection, victim: Victim) -> None:
    """Take the lock that recording the file waits for."""
    await holder.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", (victim.path, victim.tenant.id)
    )


_WAITING = "FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


async def until_waiting(holder: psycopg.AsyncConnection) -> None:
    async def waiting() -> bool:
        cursor = await holder.execute(f"SELECT count(*) {_WAITING}")
        return await cursor.fetchone() == (1,)

    await until(waiting)


async def end_waiting(holder: psycopg.AsyncConnection) -> None:
    """End what the dead server has left waiting in Postgres, which would go on with it."""
    await holder.execute(f"SELECT pg_terminate_backend(pid) {_WAITING}")


class TestInParts:
    async def create(self, victim: Victim, client: httpx.AsyncClient) -> dict[str, Any]:
        folder, name = posixpath.split(victim.path)
        created = await client.post(
            f"{FILES}/mpu/create/{folder}", json={"path": name, "num_parts": 2}
        )
        upload: dict[str, Any] = created.json()
        return upload

    async def send(self, upload: dict[str, Any], count: int) -> list[dict[str, Any]]:
        parts = []
        async with httpx.AsyncClient() as client:
            for credential, body in list(zip(upload["credentials"], PARTS, strict=True))[:count]:
                answer = await client.put(credential["url"], content=body)
                assert answer.status_code == 200, answer.text
                etag = answer.headers["etag"]
                parts.append({"part_number": credential["part_number"], "etag": etag})
        return parts

    def completion(self, victim: Victim, upload: dict[str, Any], parts: Any) -> tuple[str, Any]:
        folder, name = posixpath.split(victim.path)
        body = {"path": name, "upload_id": upload["upload_id"], "parts": parts}
        return f"{FILES}/mpu/complete/{folder}", body

    @pytest.mark.parametrize("sent", [1, 2])
    async def test_before_it_is_completed(self, victim: Victim, sent: int) -> None:
        async with httpx.AsyncClient(base_url=f"{victim.url}/t/{victim.tenant.slug}") as client:
            upload = await self.create(victim, client)
            await self.send(upload, sent)
        await victim.kill()
        await assert_as_before(victim)

    async def test_in_the_middle_of_a_part(self, victim: Victim) -> None:
        async with httpx.AsyncClient(base_url=f"{victim.url}/t/{victim.tenant.slug}") as client:
            upload = await self.create(victim, client)
            await self.send(upload, 1)
            halfway = asyncio.Event()

            async def body() -> AsyncIterator[bytes]:
                yield PARTS[1][: 6 << 20]
                halfway.set()
                await asyncio.sleep(3600)

            url = upload["credentials"][1]["url"]
            headers = {"Content-Length": str(len(PARTS[1]))}
            sending = asyncio.create_task(client.put(url, content=body(), headers=headers))
            await halfway.wait()
            await victim.kill()
            sending.cancel()
            await asyncio.wait([sending])
        await assert_as_before(victim)

    async def test_completed_after_all(self, victim: Victim, tmp_path: Path) -> None:
        """Killed after the object and before its row, when the client tries again."""
        async with httpx.AsyncClient(base_url=f"{victim.url}/t/{victim.tenant.slug}") as client:
            upload = await self.create(victim, client)
            parts = await self.send(upload, 2)
            route, body = self.completion(victim, upload, parts)
            async with await connect(victim) as holder:
                await lock_row(holder, victim)
                completing = asyncio.create_task(client.post(route, json=body))
                await until_waiting(holder)
                await victim.kill()
                with pytest.raises(httpx.TransportError):
                    await completing
                await end_waiting(holder)
        assert await victim.content() == b"before"
        assert not (await victim.collect(delete=False)).clean
        with running_server(victim.environment, tmp_path / "second.log") as (url, _):
            async with httpx.AsyncClient(base_url=f"{url}/t/{victim.tenant.slug}") as client:
                assert (await client.post(route, json=body)).status_code == 200
        assert await victim.content() == BODY
        assert (await victim.collect(delete=False)).clean
        assert await victim.objects() == 1
