"""The deepest valid paths, hundreds of nested folders: every file operation, in both stores and
through both APIs."""

import asyncio
import io
import os
import resource
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.artifacts.object_keys import object_key
from app.artifacts.paths import MAX_PATH_BYTES
from app.artifacts.stores.blocking.directory_tree import DirectoryTree
from app.artifacts.stores.values import StoredKey
from app.gc.service import GarbageCollector, Policy
from app.kernel.ids import new_uuid
from tests.integration.artifacts.indexed import objects
from tests.integration.artifacts.test_transfers import FILES, Site, ok, s3_site, site_of

WORKBENCH = "/api/v1/experiments/runs"
OLD = Policy(delete=True, grace=-3_600_000)


def deepest(size: int, name: str = "a") -> str:
    """A path of `size` bytes with as many folders as possible."""
    return "/".join(name * (size // 2)) + ("b" if size % 2 == 0 else "/c")


@contextmanager
def few_descriptors(more: int = 64) -> Iterator[None]:
    """Limits the process to so many more open files than it has now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(number) for number in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(params=["local", "s3"])
async def site(request: pytest.FixtureRequest, app: FastAPI) -> AsyncIterator[Site]:
    if request.param == "local":
        async with site_of(app) as site:
            yield site
    else:
        async with s3_site(request) as site:
            yield site


async def chunked(content: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(content), 50_000):
        yield content[at : at + 50_000]


@pytest.mark.parametrize("size", [1, 200_000])
@pytest.mark.parametrize("declared", [True, False])
async def test_mlflows_api(site: Site, size: int, declared: bool) -> None:
    folder = await site.folder()
    # Here the whole path counts, with the run's own folder.
    relative = deepest(MAX_PATH_BYTES - len(folder) - 1)
    assert relative.count("/") > 400
    path, content = f"{folder}/{relative}", os.urandom(size)
    url = f"{FILES}/artifacts/{path}"
    ok(await site.client.put(url, content=content if declared else chunked(content)))
    assert await site.get(path) == content
    ok(await site.client.put(url, content=b"replaced"))
    assert await site.get(path) == b"replaced"
    above, _, name = path.rpartition("/")
    assert await site.files(above) == [name]
    assert await site.files(folder) == ["a"]
    ok(await site.client.delete(url))
    assert (await site.client.get(url)).status_code == 404
    assert await site.files(folder) == []
    assert await objects(site.services.artifacts.store, site.tenant) == []


async def test_the_workbench(site: Site) -> None:
    run_id, _ = await site.run()
    path, copied = deepest(MAX_PATH_BYTES), deepest(MAX_PATH_BYTES, "z")
    files = f"{WORKBENCH}/{run_id}/artifacts"
    logged = await site.client.post(files, files={"file": (path, b"content")})
    assert logged.status_code == 200, logged.text
    above, _, name = path.rpartition("/")
    logged = await site.client.post(
        f"{WORKBENCH}/{run_id}/log-artifact",
        data={"artifact_path": above},
        files={"file": (name, b"new content")},
    )
    assert logged.status_code == 200, logged.text
    body = {"source_path": path, "path": copied}
    answer = await site.client.post(f"{files}/copy", json=body)
    assert answer.status_code == 200, answer.text
    answer = await site.client.post(f"{files}/copy", json={"source_path": "a", "path": "y"})
    assert answer.status_code == 200, answer.text
    for one in (path, copied, f"y{path[1:]}"):
        assert (await site.client.get(f"{files}/{one}")).content == b"new content"
    listed = ok(await site.client.get(files, params={"path": above}))
    assert [entry["path"] for entry in listed] == [path]
    sent = await site.client.get(f"{files}/", params={"archive": "zip"})
    archive = zipfile.ZipFile(io.BytesIO(sent.content))
    assert sorted(archive.namelist()) == sorted([path, copied, f"y{path[1:]}"])
    for one in ("a", "y", copied):
        assert (await site.client.delete(f"{files}/{one}")).status_code == 204
    assert await objects(site.services.artifacts.store, site.tenant) == []


async def test_an_upload_in_parts(site: Site) -> None:
    folder = await site.folder()
    path = f"{folder}/{deepest(MAX_PATH_BYTES - len(folder) - 1)}"
    upload = await site.create(path, 1)
    parts = await site.send_all(upload, [b"content"])
    ok(await site.complete(path, upload, parts))
    assert await site.get(path) == b"content"
    upload = await site.create(path, 1)
    ok(await site.abort(path, upload))
    assert await site.unfinished() == []


async def test_many_of_them_at_once(site: Site) -> None:
    """Each file has folders of its own: locks per statement and pruned folders stay bounded."""
    folder = await site.folder()
    size = MAX_PATH_BYTES - len(folder) - 4
    paths = [f"{folder}/{number:02}/{deepest(size)}" for number in range(16)]
    answers = await asyncio.gather(
        *(site.client.put(f"{FILES}/artifacts/{path}", content=b"x") for path in paths)
    )
    assert [answer.status_code for answer in answers] == [200] * len(paths)
    assert len(await objects(site.services.artifacts.store, site.tenant)) == len(paths)
    ok(await site.client.delete(f"{FILES}/artifacts/{folder}/00"))
    for number in range(1, len(paths)):
        ok(await site.client.delete(f"{FILES}/artifacts/{folder}/{number:02}"))
    assert await objects(site.services.artifacts.store, site.tenant) == []


async def test_garbage_collection(site: Site) -> None:
    run_id, folder = await site.run()
    kept = f"{folder}/{deepest(500)}"
    await site.put(kept, b"kept")
    store = site.services.artifacts.store
    orphan = object_key(f"{folder}/{deepest(MAX_PATH_BYTES)}", new_uuid())
    await store.put(
        site.tenant.slug, orphan, chunked(b"x"), content_length=1, content_type="text/plain"
    )
    await store.create_upload(
        site.tenant.slug, f"{folder}/{deepest(900, 'u')}", content_type="text/plain"
    )
    collector = GarbageCollector(site.services.database, store)
    report = await collector.collect(site.tenant, OLD)
    assert (report.orphans.count, report.uploads, report.lost.count) == (1, 1, 0)
    assert await site.get(kept) == b"kept"
    ok(await site.post("api/2.0/mlflow/runs/delete", run_id=run_id))
    report = await collector.collect(site.tenant, Policy(delete=True, retention=-1000))
    assert report.files.count == 1
    assert await objects(store, site.tenant) == []


class TestDirectoryTree:
    """The file operations of the local store, without the store."""

    @pytest.fixture
    def tree(self, tmp_path: Any) -> DirectoryTree:
        return DirectoryTree(tmp_path / "artifacts")

    def path(self, *below: str) -> list[str]:
        return ["t", "experiments", *(["d"] * 450), *below]

    def test_descriptors_are_few(self, tree: DirectoryTree) -> None:
        with few_descriptors():
            for number in range(3):
                tree.create(self.path(f"own{number}", "file"), b"x")
            assert len(list(tree.walk("t", "", ""))) == 3
            file, _ = tree.open(self.path("own0", "file"))
            file.close()
            tree.delete([self.path("own0", "file")])
            assert tree.stat(self.path("own0", "file")) is None
            tree.delete_folder(["t", "experiments"])
        assert list(tree.walk("t", "", "")) == []
        assert os.listdir(tree.root) == ["t"]

    def test_a_wide_and_deep_folder_is_removed(self, tree: DirectoryTree) -> None:
        for number in range(50):
            tree.create(["t", "f", *[str(number)] * (number + 1), "own", "file"], b"x")
        tree.create(["t", "g", "own", "file"], b"x")
        os.symlink(tree.root, tree.root / "t" / "f" / "0" / "link")
        tree.delete_folder(["t", "f"])
        assert os.listdir(tree.root / "t") == ["g"]
        assert [found.key for found in tree.walk("t", "", "")] == ["g/own/file"]

    @given(
        st.lists(
            st.lists(st.sampled_from(["a", "b", "a.", "a!"]), min_size=1, max_size=8), max_size=12
        ),
        st.data(),
    )
    @hypothesis_settings(deadline=None)  # a busy disk takes longer than the default of 200 ms
    def test_walks_in_the_order_of_keys(
        self, tmp_path_factory: pytest.TempPathFactory, paths: list[list[str]], data: st.DataObject
    ) -> None:
        tree = DirectoryTree(tmp_path_factory.mktemp("walk") / "artifacts")
        keys = sorted({"/".join([*path, "file"]) for path in paths})
        for key in keys:
            *parents, name = key.split("/")
            with tree.folder(["t", *parents], create=True) as folder:
                os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        after = data.draw(st.sampled_from(["", "a", "a/a", "a!/b", *keys]))
        found: list[StoredKey] = list(tree.walk("t", "", after))
        assert [one.key for one in found] == [key for key in keys if key > after]
