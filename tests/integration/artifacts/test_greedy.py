"""A tenant that loads the store as much as it can: other tenants don't wait for it, and its memory
is bounded."""

import asyncio
import os
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import psutil
import pytest

from app.artifacts.stores import upload_buffers, upload_stream
from app.artifacts.stores.blocking import local_uploads
from app.artifacts.stores.blocking.s3_buckets import Buckets
from app.artifacts.stores.contract import ArtifactStore
from app.artifacts.stores.local import LocalStore
from app.artifacts.stores.upload_buffers import UploadMemory
from app.artifacts.stores.values import StoredObject
from app.config import Settings
from app.http import sendfile
from app.http.protocol import BoundedHttp
from app.kernel.errors import UnavailableError
from tests.conftest import Postgres, running_server
from tests.contract.stores.test_stores import MIB, s3_store
from tests.integration.artifacts.indexed import chunks
from tests.security.test_slow_clients import serving
from tests.support.s3_server import S3Server

GREEDY, OTHER = "greedy", "other"


async def put(store: ArtifactStore, tenant: str, key: str, data: bytes) -> StoredObject:
    return await store.put(
        tenant, key, chunks(data), content_length=len(data), content_type="text/plain"
    )


async def content(store: ArtifactStore, tenant: str, key: str) -> bytes:
    async with await store.open(tenant, key) as reader:
        return b"".join([bytes(chunk) async for chunk in reader])


async def until(condition: Callable[[], bool], *tasks: asyncio.Task[Any]) -> None:
    """Waits for the condition; fails where one of the tasks has ended by then."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not any(task.done() for task in tasks)


class Held:
    """A blocking call that lasts until the test releases it."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.open = threading.Event()
        self.under_way = 0

    def __call__(self, *args: Any) -> Any:
        self.under_way += 1
        assert self.open.wait(60)
        return self.call(*args)


class TestCopies:
    async def test_others_go_on_beside_them(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """More copies than threads, each of which holds a thread for as long as the disk takes."""
        store = LocalStore(tmp_path / "artifacts")
        await put(store, GREEDY, "big", b"x" * 100_000)
        held = Held(os.copy_file_range)
        monkeypatch.setattr(local_uploads.os, "copy_file_range", held)
        copies = [asyncio.create_task(store.copy(GREEDY, "big", f"c{n}")) for n in range(40)]
        await until(lambda: held.under_way >= 12, *copies)
        for number in range(5):
            data = os.urandom(200_000)
            await asyncio.wait_for(put(store, OTHER, f"f{number}", data), 30)
            assert await asyncio.wait_for(content(store, OTHER, f"f{number}"), 30) == data
        assert not any(copy.done() for copy in copies)
        held.open.set()
        await asyncio.gather(*copies)
        await store.close()

    async def test_of_s3_hold_no_thread_of_transfers(
        self, s3: S3Server, prefix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """S3 may take minutes for a copy: not even the same tenant's transfers wait for it."""
        store = s3_store(s3, prefix)
        await put(store, GREEDY, "big", b"x" * 100_000)
        held = Held(Buckets.copy)
        monkeypatch.setattr(Buckets, "copy", lambda *args: held(*args))
        copies = [asyncio.create_task(store.copy(GREEDY, "big", f"c{n}")) for n in range(40)]
        await until(lambda: held.under_way > 0, *copies)
        for tenant in (OTHER, GREEDY):
            await asyncio.wait_for(put(store, tenant, "f", b"y" * 200_000), 30)
            assert await asyncio.wait_for(content(store, tenant, "f"), 30) == b"y" * 200_000
        assert not any(copy.done() for copy in copies)
        held.open.set()
        await asyncio.gather(*copies)
        await store.close()

    @pytest.mark.parametrize("size", [0, 1, 64 * MIB, 64 * MIB + 1, 130 * MIB])
    async def test_in_steps(
        self, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each step is synced before the next: another sync waits for one step at most."""
        synced: list[int] = []
        monkeypatch.setattr(local_uploads.os, "fdatasync", synced.append)
        store = LocalStore(tmp_path / "artifacts")
        block = secrets.token_bytes(MIB)
        sent = (block * (size // MIB + 1))[:size]
        await put(store, GREEDY, "big", sent)
        assert (await store.copy(GREEDY, "big", "copied")).size == size
        assert len(synced) == size // (64 * MIB)
        assert await content(store, GREEDY, "copied") == sent
        await store.close()

    async def test_cancelled_between_two_steps(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(local_uploads, "STEP_BYTES", 10_000)
        store = LocalStore(tmp_path / "artifacts")
        await put(store, GREEDY, "big", os.urandom(20 * MIB))
        for delay in (0.001, 0.01, 0.05):
            copy = asyncio.create_task(store.copy(GREEDY, "big", f"copied-{delay}"))
            await asyncio.sleep(delay)
            copy.cancel()
            await asyncio.wait([copy])
        assert [one async for one in store.unfinished(GREEDY)] == []
        await store.close()

    async def test_where_the_kernel_does_not_copy(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: Any) -> int:
            raise OSError(18, "another file system")

        monkeypatch.setattr(local_uploads.os, "copy_file_range", refuse)
        store = LocalStore(tmp_path / "artifacts")
        sent = os.urandom(5 * MIB + 3)
        await put(store, GREEDY, "big", sent)
        await store.copy(GREEDY, "big", "copied")
        assert await content(store, GREEDY, "copied") == sent
        await store.close()


async def test_downloads_leave_threads_to_others(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threads that send files from the disk."""
    sizes = {GREEDY: 2 * MIB, OTHER: MIB}
    send = sendfile.send_until_full
    held = Held(send)

    def held_for_the_greedy(target: int, file: BinaryIO, offset: int, count: int) -> int:
        return (held if count == sizes[GREEDY] else send)(target, file, offset, count)

    monkeypatch.setattr(sendfile, "send_until_full", held_for_the_greedy)
    async with (
        serving(postgres, tmp_path, BoundedHttp) as root,
        httpx.AsyncClient(base_url=root, timeout=60) as client,
    ):
        urls = {}
        for tenant, size in sizes.items():
            made = await client.post(
                f"/t/{tenant}/api/v1/experiments/runs", json={"experiment_id": "0"}
            )
            files = f"/t/{tenant}/api/v1/experiments/runs/{made.json()['id']}/artifacts"
            sent = await client.post(files, files={"file": ("a", bytes(size))})
            assert sent.status_code == 200, sent.text
            urls[tenant] = f"{files}/a"
        greedy = [asyncio.create_task(client.get(urls[GREEDY])) for _ in range(20)]
        await until(lambda: held.under_way == 6, *greedy)
        for _ in range(3):
            assert len((await client.get(urls[OTHER])).content) == sizes[OTHER]
        held.open.set()
        assert {len(one.content) for one in await asyncio.gather(*greedy)} == {sizes[GREEDY]}


class Slow:
    """Bodies that stall after some bytes until the test releases them."""

    def __init__(self, sent: int, *, chunk: int = 1 << 18) -> None:
        self.sent = sent
        self.chunk = bytes(chunk)
        self.waiting = 0
        self.let_go = asyncio.Event()

    async def body(self) -> AsyncIterator[bytes]:
        for _ in range(self.sent // len(self.chunk)):
            yield self.chunk
        self.waiting += 1
        await self.let_go.wait()
        yield b"end"


@pytest.fixture(params=["local", "s3"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server, prefix: str
) -> AsyncIterator[ArtifactStore]:
    local = request.param == "local"
    it: ArtifactStore = LocalStore(tmp_path / "artifacts") if local else s3_store(s3, prefix)
    yield it
    await it.close()


class TestMemory:
    @pytest.fixture(autouse=True)
    def mapped(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The current and the maximal number of bytes in buffers."""
        sizes = [0, 0]
        made = upload_buffers.mmap.mmap

        class Counted(made):  # type: ignore[misc, valid-type]
            def __init__(self, _file: int, size: int) -> None:
                sizes[0] += size
                sizes[1] = max(sizes)

            def __del__(self) -> None:
                sizes[0] -= len(self)

        monkeypatch.setattr(upload_buffers.mmap, "mmap", Counted)
        return sizes

    async def test_of_many_uploads_at_once(
        self, store: ArtifactStore, mapped: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(upload_buffers, "WAIT_SECONDS", 60.0)
        data = os.urandom(7 * MIB)
        names = [f"k{number}" for number in range(32)]
        await asyncio.gather(*(put(store, GREEDY, name, data) for name in names))
        assert mapped[0] == 0
        assert 0 < mapped[1] <= 128 * MIB
        assert await content(store, GREEDY, names[-1]) == data

    async def test_of_slow_ones(self, store: ArtifactStore, mapped: list[int]) -> None:
        """They hold all of their tenant's memory; other tenants and small uploads proceed."""
        slow = Slow(17 * MIB)
        sending = [
            asyncio.create_task(
                store.put(
                    GREEDY,
                    f"s{number}",
                    slow.body(),
                    content_length=None,
                    content_type="text/plain",
                )
            )
            for number in range(20)
        ]
        await until(lambda: slow.waiting == 20, *sending)
        assert mapped[0] <= 128 * MIB
        for tenant, size in ((GREEDY, 60_000), (OTHER, 60_000), (OTHER, 20 * MIB)):
            data = os.urandom(size)
            await asyncio.wait_for(put(store, tenant, "beside", data), 60)
            assert await content(store, tenant, "beside") == data
        slow.let_go.set()
        await asyncio.gather(*sending)
        assert mapped[0] == 0

    async def test_what_has_sent_little_holds_none(
        self, store: ArtifactStore, mapped: list[int]
    ) -> None:
        slow = Slow(upload_stream.SMALL_BYTES, chunk=1024)
        sending = [
            asyncio.create_task(
                store.put(
                    GREEDY,
                    f"s{number}",
                    slow.body(),
                    content_length=None,
                    content_type="text/plain",
                )
            )
            for number in range(32)
        ]
        await until(lambda: slow.waiting == 32, *sending)
        assert mapped == [0, 0]
        slow.let_go.set()
        await asyncio.gather(*sending)

    async def test_without_any_left(
        self, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first upload gets its buffer nevertheless; the next fails and leaves nothing."""
        monkeypatch.setattr(store, "memory", UploadMemory(MIB, MIB))
        monkeypatch.setattr(upload_buffers, "WAIT_SECONDS", 0.05)
        slow = Slow(9 * MIB)
        first = asyncio.create_task(
            store.put(GREEDY, "first", slow.body(), content_length=None, content_type="text/plain")
        )
        await until(lambda: slow.waiting == 1, first)
        with pytest.raises(UnavailableError, match="try again shortly"):
            await put(store, GREEDY, "second", bytes(MIB))
        slow.let_go.set()
        await first
        await put(store, GREEDY, "second", bytes(MIB))
        assert [one async for one in store.unfinished(GREEDY)] == []


@pytest.mark.parametrize("kind", ["local", "s3"])
async def test_a_server_under_slow_uploads(
    kind: str, settings: Settings, s3: S3Server, prefix: str, tmp_path: Path
) -> None:
    """8 clients with 4 uploads each that stall in their third part: the memory of the process is
    bounded, and is released afterwards."""
    environment = {
        "TRACKING_DATABASE_URL": settings.database_url or "",
        "TRACKING_DATA_DIR": str(tmp_path),
    }
    if kind == "s3":
        environment |= {
            "TRACKING_MINIO_ENDPOINT": s3.endpoint,
            "TRACKING_MINIO_ACCESS_KEY": s3.access_key,
            "TRACKING_MINIO_SECRET_KEY": s3.secret_key,
            "TRACKING_MINIO_BUCKET_PREFIX": prefix,
        }
    constants: dict[str, object] = {"app.artifacts.stores.upload_buffers.WAIT_SECONDS": 2.0}
    server = running_server(environment, tmp_path / "log", constants=constants)
    with server as (root, process):

        def taken() -> int:
            """The memory of the server's largest process, in MiB."""
            server = psutil.Process(process.pid)
            processes = [server, *server.children(recursive=True)]
            return max(one.memory_info().rss for one in processes) >> 20

        async with httpx.AsyncClient(base_url=root, timeout=60) as client:
            runs = "/api/v1/experiments/runs"
            made = await client.post(runs, json={"experiment_id": "0"})
            experiment, run_id = made.json()["experiment_id"], made.json()["id"]
            folder = f"experiments/{experiment}/runs/{run_id}/artifacts"
            url = f"/api/2.0/mlflow-artifacts/artifacts/{folder}"
            warm = await client.put(f"{url}/warm", content=os.urandom(20 * MIB))
            assert warm.status_code == 200, warm.text
            before = taken()
            slow = Slow(17 * MIB)
            sending = [
                asyncio.create_task(client.put(f"{url}/{number}", content=slow.body()))
                for number in range(32)
            ]
            most = 0
            async with asyncio.timeout(60):
                # Until each has stopped where it stops, or was told that there is no memory for it.
                while slow.waiting + sum(task.done() for task in sending) < len(sending):
                    most = max(most, taken())
                    await asyncio.sleep(0.02)
            most = max(most, taken())
            slow.let_go.set()
            await asyncio.wait(sending)
            most = max(most, taken())
            assert (await client.get(f"{url}/warm")).status_code == 200
            assert most < 400
            assert taken() < before + 40
