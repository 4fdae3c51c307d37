"""The contract of artifact stores, against a local folder and against S3 over HTTP."""

import asyncio
import hashlib
import os
import socket
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest
from minio import Minio
from minio.error import S3Error
from pydantic import SecretStr
from urllib3 import BaseHTTPResponse

from app.artifacts.stores import s3 as s3_module
from app.artifacts.stores.blocking import directory_tree
from app.artifacts.stores.checksums import Digest
from app.artifacts.stores.contract import ArtifactStore
from app.artifacts.stores.factory import artifact_store
from app.artifacts.stores.local import LocalStore
from app.artifacts.stores.s3 import S3Store
from app.artifacts.stores.upload_buffers import UploadMemory
from app.artifacts.stores.upload_stream import write_body
from app.artifacts.stores.values import Part, StoredObject, UnfinishedUpload
from app.config import Settings
from app.kernel.errors import ConflictError, InvalidValueError, NotFoundError, UnavailableError
from app.kernel.fair_thread_pool import FairThreadPool, TenantThreadPool
from tests.support.s3_server import S3Server, failing_server
from tests.support.waiting import settle

T = TypeVar("T")

MIB = 1 << 20
KEY = "experiments/1/runs/0123456789abcdef0123456789abcdef/artifacts/model/weights.bin"
TENANT = "acme-corp"

# ---------------------------------------------------------------------------------------------
# The stores under test


@dataclass
class Bed:
    """A store, and access to the bytes behind it."""

    store: ArtifactStore
    unfinished: Callable[[str], list[str]]


class DeclaredStore(LocalStore):
    """A store that gets the length of each body, as most clients send it: small bodies are stored
    in one call."""

    async def put(self, tenant: str, key: str, body: AsyncIterator[bytes], **more: Any) -> Any:
        if more["content_length"] is None:
            gathered = b"".join([chunk async for chunk in body])
            body, more["content_length"] = chunks(gathered), len(gathered)
        return await super().put(tenant, key, body, **more)


LOCAL_STORES = {"local": LocalStore, "local-declared": DeclaredStore}


@pytest.fixture(params=LOCAL_STORES)
def local_store(tmp_path: Path, request: pytest.FixtureRequest) -> LocalStore:
    return LOCAL_STORES[request.param](tmp_path / "artifacts")


def s3_store(s3: S3Server, prefix: str) -> S3Store:
    return S3Store(s3.endpoint, s3.access_key, s3.secret_key, bucket_prefix=prefix)


@pytest.fixture(params=[*LOCAL_STORES, "s3"])
async def bed(request: pytest.FixtureRequest) -> AsyncIterator[Bed]:
    if request.param in LOCAL_STORES:
        root = request.getfixturevalue("tmp_path") / "artifacts"
        store: ArtifactStore = LOCAL_STORES[request.param](root)
        uploads = root / ".uploads"

        def unfinished(tenant: str) -> list[str]:
            return os.listdir(uploads / tenant) if (uploads / tenant).exists() else []

    else:
        prefix = request.getfixturevalue("prefix")
        client = request.getfixturevalue("s3_client")
        store = s3_store(request.getfixturevalue("s3"), prefix)

        def unfinished(tenant: str) -> list[str]:
            return [upload.object_name for upload in open_uploads(client, prefix + tenant)]

    yield Bed(store, unfinished)
    await store.close()


@pytest.fixture
def store(bed: Bed) -> ArtifactStore:
    return bed.store


def open_uploads(client: Minio, bucket: str) -> list:
    if not client.bucket_exists(bucket):
        return []
    return client._list_multipart_uploads(bucket).uploads


# ---------------------------------------------------------------------------------------------
# Bodies


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def endless(chunk: bytes, times: int) -> AsyncIterator[bytes]:
    for _ in range(times):
        yield chunk


async def put(
    store: ArtifactStore,
    data: bytes,
    key: str = KEY,
    tenant: str = TENANT,
    content_length: int | None = None,
) -> StoredObject:
    return await store.put(
        tenant,
        key,
        chunks(data),
        content_length=content_length,
        content_type="application/octet-stream",
    )


async def get(
    store: ArtifactStore,
    key: str = KEY,
    tenant: str = TENANT,
    start: int = 0,
    end: int | None = None,
) -> bytes:
    async with await store.open(tenant, key, start=start, end=end) as reader:
        return b"".join([chunk async for chunk in reader])


async def all_keys(store: ArtifactStore, tenant: str = TENANT) -> dict[str, int]:
    return {found.key: found.size async for found in store.keys(tenant)}


# ---------------------------------------------------------------------------------------------


class TestRoundTrip:
    @pytest.mark.parametrize("data", [b"", b"x", b"hello\0world" * 1000], ids=len)
    @pytest.mark.parametrize("declared", [True, False])
    async def test_bytes_come_back(self, store: ArtifactStore, data: bytes, declared: bool) -> None:
        stored = await put(store, data, content_length=len(data) if declared else None)
        assert stored.size == len(data)
        assert stored.etag
        assert await get(store) == data
        assert await store.stat(TENANT, KEY) == stored
        async with await store.open(TENANT, KEY) as reader:
            assert reader.stored == stored

    @pytest.mark.parametrize("size", [4 * MIB, 6 * MIB, 6 * MIB + 1, 12 * MIB, 13 * MIB])
    async def test_sizes_around_the_parts(self, store: ArtifactStore, size: int) -> None:
        data = os.urandom(size)
        stored = await put(store, data, content_length=size)
        assert stored.size == size
        assert await get(store) == data
        assert await store.stat(TENANT, KEY) == stored

    async def test_small_and_odd_chunks(self, store: ArtifactStore) -> None:
        pieces = [os.urandom(n) for n in (0, 1, 65536, 7, 0, 5 * MIB, 3, 2 * MIB, 1)]
        await store.put(TENANT, KEY, chunks(*pieces), content_length=None, content_type="x/y")
        assert await get(store) == b"".join(pieces)

    @pytest.mark.parametrize(
        "name",
        [
            "Übersicht 図 🚀.txt",
            "e\u0301",
            "100%.txt",
            "a%20b+c.txt",
            "frame%03d%41%E9.png",
            "what?.txt",
            "a&b<c>\"d'.txt",
            " space ",
            "...",
            ".hidden",
            "x" * 200,
            "d/" * 100 + "deep",
        ],
    )
    async def test_names(self, store: ArtifactStore, name: str) -> None:
        key = f"experiments/1/runs/2/artifacts/{name}"
        await put(store, b"named", key)
        assert await get(store, key) == b"named"
        assert await all_keys(store) == {key: 5}
        await store.delete(TENANT, [key])
        assert await all_keys(store) == {}

    @pytest.mark.parametrize("content_type", ["text/plain; charset=utf-8", "", "x\r\ny: z", "ü/ü"])
    async def test_any_content_type(self, store: ArtifactStore, content_type: str) -> None:
        await store.put(TENANT, KEY, chunks(b"x"), content_length=1, content_type=content_type)
        assert await get(store) == b"x"

    async def test_overwrite(self, store: ArtifactStore) -> None:
        first = await put(store, b"the first, longer one")
        second = await put(store, b"the second")
        assert first.etag != second.etag
        assert await get(store) == b"the second"
        assert await all_keys(store) == {KEY: 10}

    async def test_etag_tells_contents_of_one_size_apart(self, store: ArtifactStore) -> None:
        etags = {(await put(store, bytes([number]))).etag for number in range(20)}
        assert len(etags) == 20

    async def test_reader_keeps_what_it_opened(self, store: ArtifactStore) -> None:
        old = os.urandom(3 * MIB)
        await put(store, old)
        async with await store.open(TENANT, KEY) as reader:
            first = await anext(reader)
            await put(store, b"new")
            assert first + b"".join([chunk async for chunk in reader]) == old

    async def test_chunks_are_at_most_a_mebibyte(self, store: ArtifactStore) -> None:
        await put(store, bytes(5 * MIB + 1))
        async with await store.open(TENANT, KEY) as reader:
            sizes = [len(chunk) async for chunk in reader]
        assert max(sizes) <= MIB
        assert sum(sizes) == 5 * MIB + 1


class TestRange:
    @pytest.mark.parametrize(
        ("start", "end"),
        [
            (0, 1),
            (0, 100),
            (99, 100),
            (10, 20),
            (50, None),
            (99, None),
            (90, 1000),
            (0, 1000),
            (100, None),
            (100, 200),
            (5000, None),
            (5000, 6000),
            (10, 10),
            (0, 0),
            (20, 10),
        ],
    )
    async def test_as_a_slice(self, store: ArtifactStore, start: int, end: int | None) -> None:
        data = bytes(range(100))
        await put(store, data)
        async with await store.open(TENANT, KEY, start=start, end=end) as reader:
            assert reader.stored.size == 100
            assert reader.end - reader.start == len(data[start:end])
            assert b"".join([chunk async for chunk in reader]) == data[start:end]

    @pytest.mark.parametrize(("start", "end"), [(0, None), (0, 10), (5, None), (5, 10)])
    async def test_of_an_empty_object(
        self, store: ArtifactStore, start: int, end: int | None
    ) -> None:
        await put(store, b"")
        assert await get(store, start=start, end=end) == b""

    async def test_across_chunks(self, store: ArtifactStore) -> None:
        data = os.urandom(3 * MIB)
        await put(store, data)
        assert await get(store, start=MIB - 1, end=2 * MIB + 1) == data[MIB - 1 : 2 * MIB + 1]


class TestReader:
    async def test_absent(self, store: ArtifactStore) -> None:
        with pytest.raises(NotFoundError):
            await store.open(TENANT, KEY)
        await put(store, b"x")
        for missing in (KEY + "x", KEY.rpartition("/")[0], KEY + "/below"):
            with pytest.raises(NotFoundError):
                await store.open(TENANT, missing)
            with pytest.raises(NotFoundError):
                await store.open(TENANT, missing, start=5, end=3)
            assert await store.stat(TENANT, missing) is None

    async def test_closed_unread_or_half_read(self, store: ArtifactStore) -> None:
        await put(store, bytes(5 * MIB))
        for _ in range(50):  # more than there are threads and pooled connections
            unread = await store.open(TENANT, KEY)
            await unread.aclose()
            await unread.aclose()
            async with await store.open(TENANT, KEY) as reader:
                await anext(reader)
            with pytest.raises(StopAsyncIteration):
                await anext(reader)

    async def test_many_at_once(self, store: ArtifactStore) -> None:
        data = os.urandom(2 * MIB)
        await put(store, data)
        assert set(await asyncio.gather(*(get(store) for _ in range(40)))) == {data}


class TestWholeOrNothing:
    """A failed upload leaves nothing, and the object that was there before stays."""

    async def assert_untouched(self, bed: Bed) -> None:
        assert await get(bed.store) == b"before"
        assert await all_keys(bed.store) == {KEY: 6}
        assert bed.unfinished(TENANT) == []

    @pytest.mark.parametrize("sent", [0, 1, 5 * MIB, 20 * MIB])
    async def test_body_breaks_off(self, bed: Bed, sent: int) -> None:
        class HangUpError(Exception):
            pass

        async def body() -> AsyncIterator[bytes]:
            async for chunk in endless(bytes(MIB), sent // MIB):
                yield chunk
            yield bytes(sent % MIB)
            raise HangUpError

        await put(bed.store, b"before")
        with pytest.raises(HangUpError):
            await bed.store.put(TENANT, KEY, body(), content_length=None, content_type="")
        await self.assert_untouched(bed)

    @pytest.mark.parametrize("sent", [0, 1, 5 * MIB, 20 * MIB])
    async def test_cancelled(self, bed: Bed, sent: int) -> None:
        waiting = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            async for chunk in endless(bytes(MIB), sent // MIB):
                yield chunk
            yield bytes(sent % MIB)
            waiting.set()
            await asyncio.sleep(3600)

        await put(bed.store, b"before")
        upload = asyncio.create_task(
            bed.store.put(TENANT, KEY, body(), content_length=None, content_type="")  # type: ignore[arg-type]
        )
        await waiting.wait()
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        await self.assert_untouched(bed)

    @pytest.mark.parametrize("delay", [0, 0.001, 0.005, 0.02, 0.05, 0.1])
    async def test_cancelled_at_any_moment(self, bed: Bed, delay: float) -> None:
        await put(bed.store, b"before")
        body = endless(bytes(MIB), 20)
        upload = asyncio.create_task(
            bed.store.put(TENANT, KEY, body, content_length=20 * MIB, content_type="")
        )
        await asyncio.sleep(delay)
        upload.cancel()
        await asyncio.wait([upload])
        assert await all_keys(bed.store) in ({KEY: 6}, {KEY: 20 * MIB})
        assert bed.unfinished(TENANT) == []

    async def test_timeout_is_a_timeout(self, bed: Bed) -> None:
        async def stalled() -> AsyncIterator[bytes]:
            yield bytes(8 * MIB)
            await asyncio.sleep(3600)

        await put(bed.store, b"before")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await bed.store.put(TENANT, KEY, stalled(), content_length=None, content_type="")
        await self.assert_untouched(bed)

    @pytest.mark.parametrize("sent", [0, 10, 20 * MIB])
    @pytest.mark.parametrize("off", [-1, 1, 10 * MIB])
    async def test_not_the_declared_length(self, bed: Bed, sent: int, off: int) -> None:
        await put(bed.store, b"before")
        declared = max(sent + off, 1)
        if declared == sent:
            pytest.skip("as declared")
        body = endless(bytes(MIB), sent // MIB) if sent >= MIB else chunks(bytes(sent))
        with pytest.raises(InvalidValueError, match="Content-Length") as caught:
            await bed.store.put(TENANT, KEY, body, content_length=declared, content_type="")
        assert caught.value.field == "Content-Length"
        await self.assert_untouched(bed)

    async def test_too_long_is_refused_before_it_is_read(self, bed: Bed) -> None:
        taken = 0

        async def body() -> AsyncIterator[bytes]:
            nonlocal taken
            while True:
                taken += 1
                yield bytes(MIB)

        with pytest.raises(InvalidValueError):
            await bed.store.put(TENANT, KEY, body(), content_length=3 * MIB, content_type="")
        assert taken == 4

    async def test_invisible_until_whole(self, bed: Bed) -> None:
        halfway, go_on = asyncio.Event(), asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield bytes(15 * MIB)
            halfway.set()
            await go_on.wait()
            yield b"end"

        upload = asyncio.create_task(
            bed.store.put(TENANT, KEY, body(), content_length=None, content_type="")  # type: ignore[arg-type]
        )
        await halfway.wait()
        assert await bed.store.stat(TENANT, KEY) is None
        assert await all_keys(bed.store) == {}
        go_on.set()
        await upload
        assert await all_keys(bed.store) == {KEY: 15 * MIB + 3}
        assert bed.unfinished(TENANT) == []


class HeldUpload:
    """An upload whose write or finish blocks until the test releases it; it records its calls."""

    def __init__(self, held: str) -> None:
        self.held = held
        self.begun = threading.Event()
        self.let_go = threading.Event()
        self.events: list[str] = []

    def write(self, part: memoryview, number: int) -> None:
        self._work("write")

    def finish(self, sha256: str) -> StoredObject:
        self._work("finish")
        return StoredObject(0, "etag")

    def abort(self) -> None:
        self.events.append("abort")

    def _work(self, name: str) -> None:
        if name == self.held:
            self.begun.set()
            assert self.let_go.wait(30)
        self.events.append(name)


class TestCancellationWaitsForItsThread:
    """A thread can't be stopped: a clean-up beside it would close its file, or leave its part."""

    @pytest.fixture
    async def threads(self) -> AsyncIterator[TenantThreadPool]:
        threads = FairThreadPool(4)
        yield threads.of(TENANT)
        await threads.close()

    def receiving(
        self, threads: TenantThreadPool, upload: HeldUpload, size: int = 100_000
    ) -> Coroutine[Any, Any, StoredObject]:
        return write_body(
            threads,
            upload,
            chunks(bytes(size)),
            buffers=UploadMemory().of(TENANT, [50_000]),
            content_length=None,
        )

    @pytest.mark.parametrize("size", [1, 100_000])
    @pytest.mark.parametrize("held", ["write", "finish"])
    @pytest.mark.parametrize("times", [1, 3])
    async def test_of_the_task(
        self, threads: TenantThreadPool, held: str, times: int, size: int
    ) -> None:
        upload = HeldUpload(held)
        task = asyncio.create_task(self.receiving(threads, upload, size))
        await asyncio.to_thread(upload.begun.wait)
        for _ in range(times):
            task.cancel()
            await settle()
        assert not task.done()
        assert "abort" not in upload.events
        upload.let_go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        if size > 1:  # else a thread does it all, and was done
            assert upload.events[-2:] == [held, "abort"]

    async def test_of_an_anyio_scope(self, threads: TenantThreadPool) -> None:
        upload = HeldUpload("write")
        with anyio.CancelScope() as scope:
            asyncio.get_running_loop().call_later(0.05, scope.cancel)
            asyncio.get_running_loop().call_later(0.1, upload.let_go.set)
            await self.receiving(threads, upload)
        assert scope.cancelled_caught
        assert upload.events == ["write", "abort"]

    @pytest.mark.parametrize("size", [1, 100_000])
    async def test_a_failed_write_is_the_error(self, threads: TenantThreadPool, size: int) -> None:
        class FullDisk(HeldUpload):
            def write(self, part: memoryview, number: int) -> None:
                raise UnavailableError("full")

        upload = FullDisk("")
        with pytest.raises(UnavailableError, match="full"):
            await self.receiving(threads, upload, size)
        assert upload.events == ["abort"]


class TestConcurrency:
    @pytest.mark.parametrize("size", [1000, 8 * MIB])
    async def test_one_key_ends_as_one_whole_body(self, bed: Bed, size: int) -> None:
        bodies = [bytes([number]) * (size + number) for number in range(8)]
        await asyncio.gather(*(put(bed.store, body) for body in bodies))
        assert await get(bed.store) in bodies
        assert bed.unfinished(TENANT) == []

    async def test_first_writes_of_a_tenant(self, store: ArtifactStore) -> None:
        keys = [f"experiments/1/file-{number}" for number in range(30)]
        await asyncio.gather(*(put(store, b"x", key) for key in keys))
        assert await all_keys(store) == dict.fromkeys(keys, 1)

    async def test_slow_senders_hold_no_threads(self, store: ArtifactStore) -> None:
        stalled = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield bytes(7 * MIB)
            await stalled.wait()

        slow_puts = [
            asyncio.create_task(
                store.put(TENANT, f"slow/{n}", slow(), content_length=None, content_type="")  # type: ignore[arg-type]
            )
            for n in range(24)
        ]
        await asyncio.wait_for(put(store, b"quick"), 30)
        stalled.set()
        await asyncio.gather(*slow_puts)

    async def test_put_beside_deletes_of_its_folder(self, store: ArtifactStore) -> None:
        async def put_and_delete(number: int) -> None:
            for _ in range(10):
                await put(store, b"x", f"a/b/c/{number}")
                await store.delete(TENANT, [f"a/b/c/{number}"])

        await asyncio.gather(*(put_and_delete(number) for number in range(8)))
        assert await all_keys(store) == {}


class TestTenants:
    async def test_the_same_key_is_two_objects(self, store: ArtifactStore) -> None:
        await put(store, b"ours", tenant="ours")
        await put(store, b"theirs", tenant="theirs")
        await store.delete("ours", [KEY])
        assert await store.stat("ours", KEY) is None
        assert await get(store, tenant="theirs") == b"theirs"
        assert await all_keys(store, "theirs") == {KEY: 6}
        assert await all_keys(store, "ours") == {}

    async def test_a_tenant_without_artifacts(self, store: ArtifactStore) -> None:
        assert await all_keys(store, "nobody") == {}
        assert await store.stat("nobody", KEY) is None
        await store.delete("nobody", [KEY])
        with pytest.raises(NotFoundError):
            await store.open("nobody", KEY)

    @pytest.mark.parametrize(
        "key", ["../theirs/secret", "a/../../theirs/secret", "/etc/passwd", "a//b", "", "a\\..\\b"]
    )
    async def test_no_key_leads_out(self, store: ArtifactStore, key: str) -> None:
        await put(store, b"secret", "secret", tenant="theirs")
        for attempt in (
            lambda: put(store, b"x", key, tenant="ours"),
            lambda: store.open("ours", key),
            lambda: store.stat("ours", key),
            lambda: store.delete("ours", [key]),
        ):
            with pytest.raises(InvalidValueError, match="Invalid path"):
                await attempt()
        assert await all_keys(store, "theirs") == {"secret": 6}


class TestDelete:
    async def test_again_is_no_error(self, store: ArtifactStore) -> None:
        await put(store, b"x")
        await store.delete(TENANT, [KEY, "never/there"])
        assert await store.stat(TENANT, KEY) is None
        await store.delete(TENANT, [KEY, "never/there"])
        await store.delete(TENANT, [])

    async def test_only_what_is_named(self, store: ArtifactStore) -> None:
        for key in ("a/b/1", "a/b/2", "a/bc", "a/c/1"):
            await put(store, b"x", key)
        await store.delete(TENANT, ["a/b/1", "a", "a/b", "a/b/2/3"])
        assert set(await all_keys(store)) == {"a/b/2", "a/bc", "a/c/1"}

    async def test_more_than_one_request_takes(self, store: ArtifactStore) -> None:
        keys = [f"many/{number}" for number in range(1100)]
        for at in range(0, len(keys), 50):
            await asyncio.gather(*(put(store, b"", key) for key in keys[at : at + 50]))
        assert await all_keys(store) == dict.fromkeys(keys, 0)
        await store.delete(TENANT, keys)
        assert await all_keys(store) == {}


class TestCopy:
    @pytest.mark.parametrize("size", [0, 10, 7 * MIB])
    async def test_bytes_are_the_same(self, store: ArtifactStore, size: int) -> None:
        body = os.urandom(size)
        await put(store, body, "a/from")
        copied = await store.copy(TENANT, "a/from", "b/to")
        assert (copied.size, await get(store, "b/to")) == (size, body)
        assert await store.stat(TENANT, "b/to") == copied
        await store.delete(TENANT, ["a/from"])
        assert await get(store, "b/to") == body

    async def test_replaces(self, bed: Bed) -> None:
        await put(bed.store, b"from", "from")
        await put(bed.store, b"before", "to")
        await bed.store.copy(TENANT, "from", "to")
        assert await get(bed.store, "to") == b"from"
        assert bed.unfinished(TENANT) == []

    async def test_of_nothing(self, bed: Bed) -> None:
        for tenant in (TENANT, "nobody"):
            with pytest.raises(NotFoundError):
                await bed.store.copy(tenant, "none", "to")
        await put(bed.store, b"theirs", "from", "theirs")
        with pytest.raises(NotFoundError):
            await bed.store.copy(TENANT, "from", "to")
        assert await all_keys(bed.store) == {}
        assert bed.unfinished(TENANT) == []

    @pytest.mark.parametrize("key", ["../theirs/from", "/from", "a//b"])
    async def test_no_key_leads_out(self, store: ArtifactStore, key: str) -> None:
        await put(store, b"x", "from")
        for source, target in ((key, "to"), ("from", key)):
            with pytest.raises(InvalidValueError, match="Invalid path"):
                await store.copy(TENANT, source, target)


class TestDeleteBelow:
    async def test_a_folder(self, store: ArtifactStore) -> None:
        for key in ("a/b/1", "a/b/c/2", "a/bc", "a/b.txt", "a0", "z/a/b/1"):
            await put(store, b"x", key)
        await put(store, b"x", "a/b/1", "theirs")
        for _ in range(2):
            await store.delete_below(TENANT, "a/b")
        assert set(await all_keys(store)) == {"a/bc", "a/b.txt", "a0", "z/a/b/1"}
        assert set(await all_keys(store, "theirs")) == {"a/b/1"}
        await store.delete_below("nobody", "a")

    @pytest.mark.parametrize("folder", ["", ".", "..", "../theirs", "/", "a//b"])
    async def test_never_more(self, store: ArtifactStore, folder: str) -> None:
        await put(store, b"x", "a/b")
        with pytest.raises(InvalidValueError):
            await store.delete_below(TENANT, folder)
        assert await all_keys(store) == {"a/b": 1}


class TestListing:
    KEYS = ("a", "a b", "a-b/1", "a.txt", "b/1", "b/1x", "b/2/x", "b/2.y", "b/é", "b/図", "b0", "c")

    async def keys(self, store: ArtifactStore, **more: str) -> list[str]:
        return [found.key async for found in store.keys(TENANT, **more)]

    @pytest.fixture
    async def filled(self, store: ArtifactStore) -> ArtifactStore:
        for key in self.KEYS:
            await put(store, key.encode(), key)
        return store

    async def test_in_the_order_of_bytes(self, filled: ArtifactStore) -> None:
        assert await self.keys(filled) == sorted(self.KEYS, key=str.encode)

    async def test_of_a_folder(self, filled: ArtifactStore) -> None:
        expected = sorted((k for k in self.KEYS if k.startswith("b/")), key=str.encode)
        assert await self.keys(filled, folder="b") == expected
        assert await self.keys(filled, folder="b/2") == ["b/2/x"]
        assert await self.keys(filled, folder="none") == []

    async def test_page_by_page(self, filled: ArtifactStore) -> None:
        for folder in ("", "b"):
            found: list[str] = []
            while True:
                after = found[-1] if found else ""
                page = [
                    one.key
                    async for one in limited(filled.keys(TENANT, folder=folder, after=after), 2)
                ]
                if not page:
                    break
                found += page
            assert found == await self.keys(filled, folder=folder)

    async def test_what_is_told(self, store: ArtifactStore) -> None:
        before = time.time() * 1000
        await put(store, b"hello", "a/b")
        (found,) = [one async for one in store.keys(TENANT)]
        assert (found.key, found.size) == ("a/b", 5)
        # S3 tells whole seconds, by its own clock.
        assert before - 2000 < found.modified_time < time.time() * 1000 + 2000


async def limited(found: AsyncIterator[T], count: int) -> AsyncIterator[T]:
    async for one in found:
        yield one
        count -= 1
        if not count:
            return


class TestDigests:
    @pytest.mark.parametrize("size", [0, 10, 9 * MIB])
    @pytest.mark.parametrize("algorithm", ["md5", "sha256", "sha512"])
    async def test_checked(self, bed: Bed, size: int, algorithm: Any) -> None:
        body = os.urandom(size)
        digest = Digest(algorithm, hashlib.new(algorithm, body).digest(), "Some-Header")
        stored = await self.put(bed.store, body, digest)
        assert stored.checksum == hashlib.sha256(body).hexdigest()
        with pytest.raises(InvalidValueError, match="Some-Header") as caught:
            await self.put(bed.store, body + b"x", digest)
        assert caught.value.field == "Some-Header"
        assert await get(bed.store) == body
        assert bed.unfinished(TENANT) == []

    async def put(self, store: ArtifactStore, body: bytes, digest: Digest) -> StoredObject:
        return await store.put(
            TENANT, KEY, chunks(body), content_length=None, content_type="", digests=[digest]
        )


class TestUnfinished:
    async def found(self, store: ArtifactStore, tenant: str = TENANT) -> list[UnfinishedUpload]:
        return [one async for one in store.unfinished(tenant)]

    async def test_of_nobody(self, store: ArtifactStore) -> None:
        assert await self.found(store) == []

    async def test_a_put_that_is_under_way(self, store: ArtifactStore) -> None:
        halfway, go_on = asyncio.Event(), asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield bytes(15 * MIB)
            halfway.set()
            await go_on.wait()

        sending = asyncio.create_task(
            store.put(TENANT, KEY, body(), content_length=15 * MIB, content_type="")  # type: ignore[arg-type]
        )
        await halfway.wait()
        async with asyncio.timeout(30):
            while not (found := await self.found(store)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # a part is on its way
        (upload,) = found
        assert upload.modified_time < time.time() * 1000 + 2000  # moto tells a day in 2010
        assert await self.found(store, "theirs") == []
        go_on.set()
        await sending
        assert await self.found(store) == []

    async def test_uploads_in_parts(self, store: ArtifactStore) -> None:
        for key in ("a/1", "a/2", "b c/3+4"):
            await store.create_upload(TENANT, key, content_type="")
        found = await self.found(store)
        assert sorted(one.key or "" for one in found) == ["a/1", "a/2", "b c/3+4"]
        for one in found:
            await store.discard("theirs", one)
        assert len(await self.found(store)) == 3
        for one in found:
            await store.discard(TENANT, one)
            await store.discard(TENANT, one)
        assert await self.found(store) == []
        assert await all_keys(store) == {}

    async def test_more_than_a_page(self, store: ArtifactStore) -> None:
        for number in range(1005):
            await store.create_upload(TENANT, f"a/{number // 3}", content_type="")
        ids = [one.upload_id for one in await self.found(store)]
        assert len(ids) == len(set(ids)) == 1005


class TestSigningKey:
    async def test_of_a_local_store(self, tmp_path: Path) -> None:
        stores = [LocalStore(tmp_path / "data" / "artifacts") for _ in range(8)]
        keys = await asyncio.gather(*(asyncio.to_thread(store.signing_key) for store in stores))
        assert len(set(keys)) == 1
        assert len(keys[0]) == 32
        (file,) = (tmp_path / "data").iterdir()
        assert (file.name, file.stat().st_mode & 0o777) == ("signing-key", 0o600)
        assert LocalStore(tmp_path / "other" / "artifacts").signing_key() != keys[0]

    async def test_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(UnavailableError, match="signing-key"):
            LocalStore(tmp_path / "file" / "artifacts").signing_key()

    async def test_of_s3_is_every_hosts(self) -> None:
        key = S3Store("a:9000", "key", "hush-hush").signing_key()
        assert key == S3Store("b:9000", "other", "hush-hush").signing_key()
        assert key != S3Store("a:9000", "key", "another").signing_key()
        assert b"hush" not in key


class TestMemory:
    async def test_is_flat(self, store: ArtifactStore) -> None:
        """40 MiB up and down in 64 KiB chunks; the few buffers of parts are not counted."""
        chunk, times = os.urandom(65536), 640
        await put(store, b"warm")
        tracemalloc.start()
        try:
            body = endless(chunk, times)
            await store.put(TENANT, KEY, body, content_length=40 * MIB, content_type="")
            received = 0
            async with await store.open(TENANT, KEY) as reader:
                async for piece in reader:
                    received += len(piece)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert received == 40 * MIB
        assert peak < 5 * MIB


class TestCheck:
    async def test_works(self, store: ArtifactStore) -> None:
        await store.check()
        assert await all_keys(store) == {}


# ---------------------------------------------------------------------------------------------
# What only one of them has


class TestLocal:
    async def test_layout(self, local_store: LocalStore, tmp_path: Path) -> None:
        await put(local_store, b"x")
        assert (tmp_path / "artifacts" / TENANT / KEY).read_bytes() == b"x"

    async def test_deleting_prunes_empty_folders(
        self, local_store: LocalStore, tmp_path: Path
    ) -> None:
        await put(local_store, b"x", "a/b/c/d")
        await put(local_store, b"x", "a/e")
        await local_store.delete(TENANT, ["a/b/c/d"])
        assert os.listdir(tmp_path / "artifacts" / TENANT / "a") == ["e"]
        await local_store.delete(TENANT, ["a/e"])
        assert os.listdir(tmp_path / "artifacts" / TENANT) == []

    async def test_a_file_is_no_folder(self, local_store: LocalStore, tmp_path: Path) -> None:
        await put(local_store, b"file", "a/b")
        with pytest.raises(ConflictError, match="a/b/c"):
            await put(local_store, b"x", "a/b/c")
        with pytest.raises(ConflictError, match="'a'"):
            await put(local_store, b"x", "a")
        assert await all_keys(local_store) == {"a/b": 4}
        assert os.listdir(tmp_path / "artifacts" / ".uploads" / TENANT) == []

    async def test_an_empty_folder_is_in_nobodys_way(
        self, local_store: LocalStore, tmp_path: Path
    ) -> None:
        (tmp_path / "artifacts" / TENANT / "a").mkdir(parents=True)
        await put(local_store, b"x", "a")
        assert await get(local_store, "a") == b"x"

    @pytest.mark.parametrize("planted", [TENANT, f"{TENANT}/a", f"{TENANT}/a/b"])
    async def test_no_symlink_leads_out(
        self, local_store: LocalStore, tmp_path: Path, planted: str
    ) -> None:
        outside = tmp_path / "outside"
        (outside / "a" / "b").mkdir(parents=True)
        for folder in (outside, outside / "a", outside / "a" / "b"):
            (folder / "secret").write_text("secret")
        link = tmp_path / "artifacts" / planted
        link.parent.mkdir(parents=True)
        link.symlink_to(outside, target_is_directory=True)
        before = sorted(outside.rglob("*"))
        for key in ("a/secret", "a/b/secret", "a/b/a/b/secret"):
            assert await local_store.stat(TENANT, key) is None
            with pytest.raises(NotFoundError):
                await local_store.open(TENANT, key)
            await local_store.delete(TENANT, [key])
        with pytest.raises(ConflictError):
            await put(local_store, b"x", "a/b/secret")
        assert await all_keys(local_store) == {}
        assert sorted(outside.rglob("*")) == before
        assert (outside / "secret").read_text() == "secret"

    async def test_no_file_is_a_symlink(self, local_store: LocalStore, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("secret")
        link = tmp_path / "artifacts" / TENANT / "a"
        link.parent.mkdir(parents=True)
        link.symlink_to(secret)
        assert await local_store.stat(TENANT, "a") is None
        with pytest.raises(NotFoundError):
            await local_store.open(TENANT, "a")
        await put(local_store, b"new", "a")  # replaces the link, not what it points to
        assert secret.read_text() == "secret"
        assert await get(local_store, "a") == b"new"

    async def test_a_file_system_that_knows_no_unnamed_files(
        self, local_store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(directory_tree, "UNNAMED", os.O_WRONLY)
        await put(local_store, b"x")
        await put(local_store, b"y")
        assert await get(local_store) == b"y"
        assert os.listdir(tmp_path / "artifacts" / ".uploads" / TENANT) == []

    async def test_a_fifo_does_not_hang(self, local_store: LocalStore, tmp_path: Path) -> None:
        fifo = tmp_path / "artifacts" / TENANT / "a"
        fifo.parent.mkdir(parents=True)
        os.mkfifo(fifo)
        with pytest.raises(NotFoundError):
            await asyncio.wait_for(local_store.open(TENANT, "a"), 10)

    async def test_root_may_be_a_symlink(self, tmp_path: Path) -> None:
        (tmp_path / "big-disk").mkdir()
        (tmp_path / "artifacts").symlink_to(tmp_path / "big-disk")
        store = LocalStore(tmp_path / "artifacts")
        await put(store, b"x")
        assert await get(store) == b"x"
        await store.close()

    async def test_descriptors_are_closed(self, local_store: LocalStore) -> None:
        await put(local_store, b"x")
        before = os.listdir("/dev/fd")
        for _ in range(20):
            await get(local_store)
            await local_store.stat(TENANT, KEY + "/x")
            with pytest.raises(NotFoundError):
                await local_store.open(TENANT, "missing/key")
            with pytest.raises(ConflictError):
                await put(local_store, b"x", KEY + "/x")
        assert len(os.listdir("/dev/fd")) == len(before)

    async def test_unreachable(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        store = LocalStore(tmp_path / "file" / "artifacts")
        with pytest.raises(UnavailableError, match="TRACKING_DATA_DIR"):
            await store.check()
        await store.close()


class TestS3:
    async def test_bucket_per_tenant(self, s3: S3Server, s3_client: Minio, prefix: str) -> None:
        store = s3_store(s3, prefix)
        assert not s3_client.bucket_exists(prefix + TENANT)
        await put(store, b"x")
        assert s3_client.stat_object(prefix + TENANT, KEY).size == 1
        await store.close()

    async def test_content_type_is_kept(self, s3: S3Server, s3_client: Minio, prefix: str) -> None:
        store = s3_store(s3, prefix)
        for size in (1, 7 * MIB):
            body = chunks(bytes(size))
            await store.put(TENANT, KEY, body, content_length=size, content_type="image/png")
            assert s3_client.stat_object(prefix + TENANT, KEY).content_type == "image/png"
        await store.close()

    @pytest.mark.parametrize("size", [10, 7 * MIB])
    async def test_a_bucket_that_was_removed_is_made_anew(
        self, s3: S3Server, s3_client: Minio, prefix: str, size: int
    ) -> None:
        store = s3_store(s3, prefix)
        await put(store, b"x")
        await store.delete(TENANT, [KEY])
        s3_client.remove_bucket(prefix + TENANT)
        assert await store.stat(TENANT, KEY) is None
        assert await all_keys(store) == {}
        with pytest.raises(NotFoundError):
            await store.open(TENANT, KEY)
        await put(store, bytes(size))
        assert await get(store) == bytes(size)
        await store.close()

    async def test_two_workers_make_one_bucket(self, s3: S3Server, prefix: str) -> None:
        stores = [s3_store(s3, prefix) for _ in range(4)]
        await asyncio.gather(*(put(store, b"x", f"key-{n}") for n, store in enumerate(stores)))
        assert len(await all_keys(stores[0])) == 4
        for store in stores:
            await store.close()

    async def test_a_bucket_that_another_worker_just_made(
        self, s3: S3Server, prefix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = s3_store(s3, prefix)
        make_bucket = Minio.make_bucket

        def too_late(client: Minio, bucket: str) -> None:
            make_bucket(client, bucket)
            raise S3Error(BaseHTTPResponse, "BucketAlreadyOwnedByYou", "", bucket, "", "")  # type: ignore[arg-type]

        monkeypatch.setattr(Minio, "make_bucket", too_late)
        await put(store, b"x")
        assert await get(store) == b"x"
        await store.close()

    async def test_a_closed_reader_gives_its_connection_back(
        self, s3: S3Server, prefix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = s3_store(s3, prefix)
        await put(store, bytes(5 * MIB))
        responses: list[Any] = []
        get_object = Minio.get_object

        def noted(*arguments: Any, **more: Any) -> Any:
            responses.append(get_object(*arguments, **more))
            return responses[-1]

        monkeypatch.setattr(Minio, "get_object", noted)
        reader = await store.open(TENANT, KEY)
        await reader.aclose()
        (response,) = responses
        assert response.closed
        assert response.connection is None
        await store.close()

    @pytest.mark.parametrize(
        ("versioning", "days", "status", "rules"),
        [(False, None, None, []), (True, None, "Enabled", []), (True, 30, "Enabled", [30])],
    )
    async def test_how_a_bucket_is_made(
        self,
        s3: S3Server,
        s3_client: Minio,
        prefix: str,
        versioning: bool,
        days: int | None,
        status: str | None,
        rules: list[int],
    ) -> None:
        store = S3Store(
            s3.endpoint,
            s3.access_key,
            s3.secret_key,
            bucket_prefix=prefix,
            versioning=versioning,
            old_versions_days=days,
        )
        await put(store, b"x")
        await put(store, b"y")
        assert await get(store) == b"y"
        assert await all_keys(store) == {KEY: 1}
        bucket = prefix + TENANT
        assert s3_client.get_bucket_versioning(bucket).status == status
        found = s3_client.get_bucket_lifecycle(bucket)
        assert rules == [
            rule.noncurrent_version_expiration.noncurrent_days
            for rule in (found.rules if found else [])
        ]
        await store.close()

    async def test_urls_are_the_public_endpoints(self, s3: S3Server, prefix: str) -> None:
        store = S3Store(
            s3.endpoint,
            s3.access_key,
            s3.secret_key,
            bucket_prefix=prefix,
            public_endpoint="https://files.example.org:8443/",
        )
        base = f"https://files.example.org:8443/{prefix}{TENANT}/a%20b%2Bc/%C3%A9?"
        got = await store.object_url(TENANT, "a b+c/é", disposition="attachment", seconds=60)
        part = await store.part_url(TENANT, "a b+c/é", "id", 7, seconds=60)
        for url in (got, part):
            assert url
            assert url.startswith(base)
            assert "X-Amz-Expires=60" in url
            assert s3.secret_key not in url
        assert "partNumber=7&uploadId=id" in (part or "")
        await store.close()

    async def test_without_a_public_endpoint(self, s3: S3Server) -> None:
        store = s3_store(s3, "p-")
        assert not store.takes_parts
        assert await store.object_url(TENANT, KEY, disposition="", seconds=60) is None
        assert await store.part_url(TENANT, KEY, "id", 1, seconds=60) is None
        await store.close()

    async def test_the_bucket_in_the_hosts_name(self) -> None:
        store = S3Store(
            "minio.example.org",
            "key",
            "secret",
            path_style=False,
            public_endpoint="http://minio.example.org",
        )
        url = await store.object_url(TENANT, "a", disposition="", seconds=60)
        assert (url or "").startswith(f"http://{TENANT}.minio.example.org/a?")
        await store.close()

    async def test_unreachable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(s3_module, "RETRIES", s3_module.RETRIES.new(backoff_factor=0))
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
            store = S3Store(f"127.0.0.1:{unused.getsockname()[1]}", "key", "hush-hush")
            for attempt in every_method(store):
                with pytest.raises(UnavailableError, match="did not answer") as caught:
                    await attempt()
                assert "hush-hush" not in caught.value.message
            await store.close()

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("InvalidAccessKeyId", "TRACKING_MINIO_ACCESS_KEY"),
            ("SignatureDoesNotMatch", "TRACKING_MINIO_SECRET_KEY"),
            ("RequestTimeTooSkewed", "clocks"),
            ("AuthorizationHeaderMalformed", "TRACKING_MINIO_REGION"),
            ("SomethingElse", "SomethingElse"),
        ],
    )
    async def test_refusals_say_what_to_look_at(self, code: str, message: str) -> None:
        with failing_server(403, code) as endpoint:
            # With a region set nothing is asked beforehand, and the first answer to a HEAD is bare.
            for region in (None, "us-east-1"):
                store = S3Store(endpoint, "key", "hush-hush", region=region)
                with pytest.raises(UnavailableError, match=message):
                    await store.check()
                with pytest.raises(UnavailableError, match=message) as caught:
                    await put(store, b"x")
                assert "hush-hush" not in caught.value.message
                await store.close()

    async def test_a_bucket_that_is_not_ours(self) -> None:
        with failing_server(403, "AccessDenied") as endpoint:
            store = S3Store(endpoint, "key", "secret", region="us-east-1", bucket_prefix="p-")
            with pytest.raises(UnavailableError, match=r"'p-acme-corp'.*another account"):
                await put(store, b"x")
            await store.check()  # a key that may not list buckets
            await store.close()

    async def test_not_an_s3_server(self) -> None:
        with failing_server(404, None) as endpoint:
            store = S3Store(endpoint, "key", "secret")
            with pytest.raises(UnavailableError, match="does not speak S3"):
                await store.check()
            await store.close()

    async def test_http_where_https_is_meant(self) -> None:
        with failing_server(404, None) as endpoint:
            store = S3Store(endpoint, "key", "secret", secure=True)
            with pytest.raises(UnavailableError, match="TRACKING_MINIO_SECURE"):
                await store.check()
            await store.close()


def every_method(store: ArtifactStore) -> list[Callable]:
    return [
        lambda: put(store, b"x"),
        lambda: put(store, bytes(8 * MIB)),
        lambda: store.open(TENANT, KEY),
        lambda: store.stat(TENANT, KEY),
        lambda: store.delete(TENANT, [KEY]),
        lambda: all_keys(store),
        lambda: store.check(),
        lambda: store.copy(TENANT, KEY, "to"),
        lambda: store.delete_below(TENANT, "a"),
        lambda: store.create_upload(TENANT, KEY, content_type=""),
        lambda: store.complete_upload(TENANT, KEY, "id", [Part(1, "etag")]),
        lambda: store.abort_upload(TENANT, KEY, "id"),
        lambda: anext(store.unfinished(TENANT)),
    ]


class TestFactory:
    def settings(self, **values: object) -> Settings:
        return Settings(_env_file=None, **values)

    async def test_local_folder_by_default(self, tmp_path: Path) -> None:
        store = artifact_store(self.settings(data_dir=tmp_path))
        await put(store, b"x")
        assert (tmp_path / "artifacts" / TENANT / KEY).exists()
        await store.close()

    async def test_s3_where_an_endpoint_is_set(
        self, s3: S3Server, s3_client: Minio, prefix: str
    ) -> None:
        store = artifact_store(
            self.settings(
                minio_endpoint=s3.endpoint,
                minio_access_key=s3.access_key,
                minio_secret_key=SecretStr(s3.secret_key),
                minio_bucket_prefix=prefix,
            )
        )
        await put(store, b"x")
        assert s3_client.bucket_exists(prefix + TENANT)
        await store.close()

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"minio_access_key": None}, "TRACKING_MINIO_ACCESS_KEY"),
            ({"minio_secret_key": None}, "TRACKING_MINIO_SECRET_KEY"),
            ({"minio_endpoint": "http://minio:9000"}, "host:port"),
            ({"minio_public_endpoint": "minio:9000"}, "TRACKING_MINIO_PUBLIC_ENDPOINT"),
            ({"minio_public_endpoint": "http://minio/x"}, "TRACKING_MINIO_PUBLIC_ENDPOINT"),
            ({"minio_bucket_prefix": "Upper-"}, "TRACKING_MINIO_BUCKET_PREFIX"),
            ({"minio_bucket_prefix": "a" * 16}, "TRACKING_MINIO_BUCKET_PREFIX"),
        ],
    )
    def test_what_makes_no_sense(self, values: dict[str, object], message: str) -> None:
        good = {
            "minio_endpoint": "minio:9000",
            "minio_access_key": "key",
            "minio_secret_key": SecretStr("secret"),
        }
        with pytest.raises(ValueError, match=message):
            artifact_store(self.settings(**{**good, **values}))
