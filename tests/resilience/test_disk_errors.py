"""Whatever the disk of the local store answers, at whatever call: an upload is stored whole, or
refused with 507 or 503, and never 500; what was there before stays."""

import errno
import io
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import pytest
import pytest_asyncio

from app.artifacts.stores.blocking import directory_tree, local_uploads, signing_key
from app.config import Settings
from app.main import create_app
from app.services import Services
from tests.conftest import client_of, new_slug

# What a disk may say: that it is full, or a quota is; that it is broken, mounted read-only, on a
# server that is gone, not ours; and that the process has too many files open.
FULL = [errno.ENOSPC, errno.EDQUOT, errno.EFBIG]
BROKEN = [errno.EIO, errno.EROFS, errno.ESTALE, errno.EACCES, errno.EMFILE]
OF_THE_SYSTEM = [
    "copy_file_range",
    "fsync",
    "fstat",
    "link",
    "mkdir",
    "open",
    "replace",
    "statvfs",
    "utime",
    "write",
]
OF_A_FILE = ["close", "write"]
MOST_CALLS = 40  # of one kind, in one upload

PROXY = "/api/2.0/mlflow-artifacts/artifacts"
MULTIPART = "/api/2.0/mlflow-artifacts/mpu"
OLD, SMALL, LARGE = b"old", b"new", bytes(5 << 20)  # more than is written at once


class Disk:
    """Stands in for `os` and `open` in the store: one call fails from its nth time on."""

    def __init__(self, call: str, number: int, spared: int) -> None:
        self.call, self.number, self.spared = call, number, spared
        self.failed = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(os, name)
        if name != self.call:
            return found

        def call(*arguments: Any, **more: Any) -> Any:
            self.count()
            return found(*arguments, **more)

        return call

    def count(self) -> None:
        self.spared -= 1
        if self.spared < 0:
            self.failed = True
            raise OSError(self.number, os.strerror(self.number))

    def open_file(self, file: Any, mode: str, buffering: int = -1) -> Any:
        if isinstance(file, int) and buffering == 0:
            return File(self, file, mode)
        return open(file, mode, buffering)


class File(io.FileIO):
    def __init__(self, disk: Disk, descriptor: int, mode: str) -> None:
        super().__init__(descriptor, mode)
        self._disk = disk

    def write(self, data: Any) -> int:
        if self._disk.call == "file.write":
            self._disk.count()
        return super().write(data)

    def close(self) -> None:
        was_open = not self.closed
        super().close()
        if was_open and self._disk.call == "file.close":
            self._disk.count()


@contextmanager
def faulty(call: str, number: int, spared: int) -> Iterator[Disk]:
    disk = Disk(call, number, spared)
    with pytest.MonkeyPatch.context() as patch:
        for module in (directory_tree, local_uploads, signing_key):
            patch.setattr(module, "os", disk)
        patch.setattr(directory_tree, "open", disk.open_file, raising=False)
        yield disk


@pytest_asyncio.fixture(scope="module")
async def store(
    settings: Settings, services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server whose store is these tests' own. The tenant goes with its many files,
    which other tests would look for in theirs."""
    tenant = await services.tenant_lookup.resolve(new_slug(), create=True)
    data_dir = tmp_path_factory.mktemp("disk-errors")
    app = create_app(settings.model_copy(update={"data_dir": data_dir}))
    async with app.router.lifespan_context(app), client_of(app, tenant) as client:
        yield client
    assert settings.database_url
    with psycopg.connect(settings.database_url) as connection:
        connection.execute("SELECT delete_tenant(%s, true)", [tenant.slug])


async def whole(client: httpx.AsyncClient, path: str, content: bytes) -> httpx.Response:
    return await client.put(f"{PROXY}/{path}", content=content)


async def small(client: httpx.AsyncClient, path: str) -> httpx.Response:
    return await whole(client, path, SMALL)


async def large(client: httpx.AsyncClient, path: str) -> httpx.Response:
    return await whole(client, path, LARGE)


async def in_chunks(client: httpx.AsyncClient, path: str) -> httpx.Response:
    async def chunks() -> AsyncIterator[bytes]:
        yield SMALL

    return await client.put(f"{PROXY}/{path}", content=chunks())


async def form(client: httpx.AsyncClient, path: str) -> httpx.Response:
    return await client.post(
        f"/api/v1/experiments/runs/{path.split('/')[3]}/artifacts",
        files={"file": (path.rpartition("/")[2], SMALL, "text/plain")},
    )


async def copy(client: httpx.AsyncClient, path: str) -> httpx.Response:
    return await client.post(
        f"/api/v1/experiments/runs/{path.split('/')[3]}/artifacts/copy",
        json={"source_path": "source", "path": path.rpartition("/")[2]},
    )


async def in_parts(client: httpx.AsyncClient, path: str) -> httpx.Response:
    folder, _, name = path.rpartition("/")
    created = await client.post(f"{MULTIPART}/create/{folder}", json={"path": name, "num_parts": 1})
    if created.status_code != 200:
        return created
    upload = created.json()
    url = httpx.URL(upload["credentials"][0]["url"])
    sent = await client.put(f"http://test{url.raw_path.decode()}", content=SMALL)
    if sent.status_code != 200:
        return sent
    parts = [{"part_number": 1, "etag": sent.headers["etag"]}]
    told = {"path": name, "upload_id": upload["upload_id"], "parts": parts}
    return await client.post(f"{MULTIPART}/complete/{folder}", json=told)


@pytest.mark.parametrize("upload", [small, large, in_chunks, form, copy, in_parts])
@pytest.mark.parametrize(
    "call", [*OF_THE_SYSTEM, *(f"file.{name}" for name in OF_A_FILE)], ids=lambda name: name
)
async def test_never_500(store: httpx.AsyncClient, upload: Any, call: str) -> None:
    run = (await store.post("/api/2.0/mlflow/runs/create", json={})).json()["run"]["info"]
    root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    new = LARGE if upload is large else SMALL
    assert (await whole(store, f"{root}/source", SMALL)).status_code == 200
    # Makes the key that signs URLs, once for ever.
    assert (await in_parts(store, f"{root}/parts")).status_code == 200
    for number in (*FULL, *BROKEN):
        # From the first time on; of two errors also from every later one.
        most = MOST_CALLS if number in (errno.ENOSPC, errno.EIO) else 1
        for spared in range(most):
            path = f"{root}/{number}-{spared}"
            assert (await whole(store, path, OLD)).status_code == 200
            with faulty(call, number, spared) as disk:
                answer = await upload(store, path)
            found = (await store.get(f"{PROXY}/{path}")).content
            if not disk.failed:
                assert (answer.status_code, found) == (200, new)
                break
            refused = 507 if number in FULL else 503
            assert answer.status_code in (200, refused), (number, spared, answer.text)
            assert found == (new if answer.status_code == 200 else OLD)
        else:
            assert most == 1, f"{call} is called more than {MOST_CALLS} times"
