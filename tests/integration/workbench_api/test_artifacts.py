import asyncio
import hashlib
import io
import tracemalloc
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.artifacts.entities import Artifact
from app.artifacts.stores.object_reader import ObjectReader
from app.config import Settings
from app.kernel.errors import UnavailableError
from app.kernel.tenant import Tenant
from app.services import Services
from tests.integration.workbench_api.support import (
    RUNS,
    assert_problem,
    new_experiment,
    new_run,
)

CONTENT = bytes(range(256)) * 4


async def upload(
    client: httpx.AsyncClient,
    run_id: str,
    name: str = "a.bin",
    content: bytes = CONTENT,
    folder: str = "",
    content_type: str | None = None,
) -> httpx.Response:
    file = (name, content, content_type) if content_type else (name, content)
    return await client.post(
        f"{RUNS}/{run_id}/log-artifact", files={"file": file}, data={"artifact_path": folder}
    )


async def stored(client: httpx.AsyncClient, run_id: str, *paths: str) -> None:
    for path in paths:
        folder, _, name = path.rpartition("/")
        response = await upload(client, run_id, name, path.encode(), folder)
        assert response.status_code == 200, response.text


async def send(
    client: httpx.AsyncClient, run: dict[str, Any], *parts: tuple[Any, ...]
) -> httpx.Response:
    """A form whose parts come in that order: (name, value), or (name, file name, content)."""
    files = [(name, (None, *rest) if len(rest) == 1 else tuple(rest)) for name, *rest in parts]
    return await client.post(f"{RUNS}/{run['id']}/log-artifact", files=files)


def files_of(settings: Settings, run: dict[str, Any]) -> list[Path]:
    """What the store holds of a run."""
    root = settings.data_dir / "artifacts"
    return [path for path in root.rglob(f"*{run['id']}*/**/*") if path.is_file()]


def url(run: dict[str, Any], path: str) -> str:
    return f"{RUNS}/{run['id']}/artifacts/{path}"


async def cut_off(app: FastAPI, client: httpx.AsyncClient, path: str) -> bytes:
    """What the application sends of an answer that it does not finish. httpx's transport takes
    such an answer for a mistake of the application; a server closes the connection."""
    request = client.build_request("GET", path)
    scope = {
        "type": "http",
        "method": "GET",
        "path": request.url.path,
        "raw_path": request.url.raw_path,
        "query_string": request.url.query,
        "root_path": "",
        "scheme": "http",
        "server": ("test", 80),
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
    }
    sent: list[dict[str, Any]] = []

    requests = iter([{"type": "http.request", "body": b""}])

    async def receive() -> dict[str, Any]:
        return next(requests, None) or await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert sent[0]["status"] == 200
    assert sent[-1]["more_body"]
    return b"".join(message.get("body", b"") for message in sent)


class TestLogArtifact:
    async def test_in_the_root(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        response = await client.post(
            f"{RUNS}/{run['id']}/log-artifact", files={"file": ("model.json", b"{}")}
        )
        assert response.status_code == 200
        answer = response.json()
        assert answer["message"] == "Logged model.json"
        assert answer["run_id"] == run["id"]
        artifact = answer["artifact"]
        assert artifact.pop("updated_at").endswith("Z")
        assert artifact == {
            "path": "model.json",
            "is_dir": False,
            "size": 2,
            "content_type": "application/json",
            "sha256": hashlib.sha256(b"{}").hexdigest(),
        }
        shown = (await client.get(f"{RUNS}/{run['id']}")).json()
        assert shown["artifacts"] == ["model.json"]

    async def test_in_a_folder(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        response = await upload(client, run["id"], "größe 预测.txt", b"x", "models/best/")
        assert response.json()["artifact"]["path"] == "models/best/größe 预测.txt"

    async def test_replaced(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await upload(client, run["id"], "a.txt", b"old")
        await upload(client, run["id"], "a.txt", b"newer")
        assert (await client.get(url(run, "a.txt"))).content == b"newer"

    async def test_empty(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await upload(client, run["id"], "empty", b"")
        response = await client.get(url(run, "empty"))
        assert response.status_code == 200
        assert response.content == b""
        assert response.headers["content-length"] == "0"

    @pytest.mark.parametrize(
        ("declared", "kept"),
        [
            ("text/csv", "text/csv"),
            ("text/csv; charset=utf-8", "text/csv; charset=utf-8"),
            ("application/octet-stream", "application/json"),
            ("not a type", "application/json"),
            ("t/" + "x" * 300, "application/json"),
        ],
    )
    async def test_content_type(
        self, client: httpx.AsyncClient, run: dict[str, Any], declared: str, kept: str
    ) -> None:
        await upload(client, run["id"], "a.json", b"{}", content_type=declared)
        assert (await client.get(url(run, "a.json"))).headers["content-type"] == kept

    @pytest.mark.parametrize(
        ("name", "folder"),
        [
            ("a", ".."),
            ("a", "../other"),
            ("a", "/etc"),
            ("a", "a//b"),
            ("a", "a\\b"),
            ("a", "file:x"),
            ("a", "%2e%2e"),
            ("a", "f" * 256),
            ("..", ""),
            ("#", ""),
        ],
    )
    async def test_invalid_path(
        self, client: httpx.AsyncClient, run: dict[str, Any], name: str, folder: str
    ) -> None:
        assert_problem(await upload(client, run["id"], name, folder=folder), 422, "path")

    async def test_name_with_a_folder(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        assert_problem(await upload(client, run["id"], "../a"), 422, "file")

    async def test_no_file(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        target = f"{RUNS}/{run['id']}/log-artifact"
        assert_problem(await client.post(target, files={"artifact_path": (None, "x")}), 422, "file")
        assert_problem(await client.post(target, data={"artifact_path": "x"}), 415)
        assert_problem(await client.post(target, json={}), 415)

    async def test_unknown_field(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        response = await client.post(
            f"{RUNS}/{run['id']}/log-artifact", files={"file": ("a", b"a")}, data={"path": "x"}
        )
        assert_problem(response, 422, "path")

    @pytest.mark.parametrize("folder", ["", "models/best"])
    async def test_the_folder_after_the_file(
        self, client: httpx.AsyncClient, run: dict[str, Any], settings: Settings, folder: str
    ) -> None:
        """As a page's form or curl may send it."""
        response = await send(client, run, ("file", "a.txt", b"text"), ("artifact_path", folder))
        assert response.status_code == 200, response.text
        answer = response.json()["artifact"]
        assert answer["path"] == f"{folder}/a.txt".lstrip("/")
        assert answer["sha256"] == hashlib.sha256(b"text").hexdigest()
        got = await client.get(url(run, answer["path"]))
        assert got.content == b"text"
        current = {"If-None-Match": got.headers["etag"]}
        assert (await client.get(url(run, answer["path"]), headers=current)).status_code == 304
        assert len(files_of(settings, run)) == 1

    async def test_a_folder_of_the_files_name_is_not_in_its_way(
        self, client: httpx.AsyncClient, run: dict[str, Any]
    ) -> None:
        await stored(client, run["id"], "model/weights")
        response = await send(client, run, ("file", "model", b"x"), ("artifact_path", "best"))
        assert response.json()["artifact"]["path"] == "best/model"

    @pytest.mark.parametrize(
        ("parts", "field"),
        [
            ([("file", "a", b"x"), ("file", "b", b"x")], "file"),
            ([("file", "a", b"x"), ("artifact_path", "../other")], "path"),
            ([("file", "a", b"x"), ("artifact_path", "f/" * 600)], "artifact_path"),
            ([("file", "a", b"x"), ("artifact_path", b"\xff")], "artifact_path"),
            ([("file", "a", b"x"), ("artifact_path", "a"), ("artifact_path", "b")], None),
            ([("file", "a", b"x"), ("folder", "a")], "folder"),
            ([("file", None, b"x")], "file"),
        ],
    )
    async def test_a_wrong_form_leaves_nothing(
        self,
        client: httpx.AsyncClient,
        run: dict[str, Any],
        settings: Settings,
        parts: list[Any],
        field: str | None,
    ) -> None:
        response = await send(client, run, *parts)
        assert_problem(response, 422, field or "artifact_path")
        assert files_of(settings, run) == []
        assert (await client.get(f"{RUNS}/{run['id']}")).json()["artifacts"] == []

    async def test_a_form_that_ends_after_the_file_leaves_nothing(
        self, client: httpx.AsyncClient, run: dict[str, Any], settings: Settings
    ) -> None:
        async def form() -> AsyncIterator[bytes]:
            yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\n'
            yield b"bytes\r\n--x\r\n"

        response = await client.post(
            f"{RUNS}/{run['id']}/log-artifact",
            content=form(),
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        )
        assert_problem(response, 422, "body")
        assert files_of(settings, run) == []

    async def test_a_folder_in_the_way_found_late(
        self, client: httpx.AsyncClient, run: dict[str, Any], settings: Settings
    ) -> None:
        await stored(client, run["id"], "a")
        response = await send(client, run, ("file", "b", b"x"), ("artifact_path", "a"))
        assert_problem(response, 409, "path")
        assert len(files_of(settings, run)) == 1

    async def test_malformed_form(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        response = await client.post(
            f"{RUNS}/{run['id']}/log-artifact",
            content=b"nonsense",
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        )
        assert response.status_code in (400, 422)
        assert_problem(response, response.status_code)

    async def test_through_a_file(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await stored(client, run["id"], "a")
        problem = assert_problem(await upload(client, run["id"], "b", folder="a"), 409, "path")
        assert problem["detail"] == "'a/b' leads through a file"

    async def test_over_a_folder(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await stored(client, run["id"], "a/b")
        assert_problem(await upload(client, run["id"], "a"), 409, "path")

    async def test_elsewhere(self, client: httpx.AsyncClient) -> None:
        elsewhere = await new_experiment(client, name="s3", artifact_location="s3://bucket/path")
        run = await new_run(client, experiment_id=elsewhere["id"])
        assert_problem(await upload(client, run["id"]), 409, "run_id")
        assert_problem(await client.get(f"{RUNS}/{run['id']}/artifacts"), 409, "run_id")
        assert_problem(await client.get(url(run, "a")), 409, "run_id")
        assert (await client.get(f"{RUNS}/{run['id']}")).json()["artifacts"] == []

    async def test_deleted_run(
        self, client: httpx.AsyncClient, deleted_run: dict[str, Any]
    ) -> None:
        assert_problem(await upload(client, deleted_run["id"]), 409, "run_id")

    async def test_memory_stays_flat(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        size, chunk = 64 << 20, bytes(1 << 20)

        async def form() -> Any:
            yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\n'
            for _ in range(size // len(chunk)):
                yield chunk
            yield b"\r\n--x--\r\n"

        tracemalloc.start()
        try:
            response = await client.post(
                f"{RUNS}/{run['id']}/log-artifact",
                content=form(),
                headers={"Content-Type": "multipart/form-data; boundary=x"},
            )
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert response.json()["artifact"]["size"] == size
        assert peak < size // 2


class TestListArtifacts:
    async def listed(
        self, client: httpx.AsyncClient, run: dict[str, Any], path: str = ""
    ) -> list[tuple[str, bool]]:
        response = await client.get(f"{RUNS}/{run['id']}/artifacts", params={"path": path})
        assert response.status_code == 200, response.text
        return [(one["path"], one["is_dir"]) for one in response.json()]

    async def test_folders(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await stored(client, run["id"], "b.txt", "a/one", "a/deep/two", "ü/x")
        assert await self.listed(client, run) == [("a", True), ("b.txt", False), ("ü", True)]
        assert await self.listed(client, run, "a") == [("a/deep", True), ("a/one", False)]
        assert await self.listed(client, run, "a/") == [("a/deep", True), ("a/one", False)]

    async def test_shape(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await stored(client, run["id"], "a/b.txt", "c.txt")
        folder, file = (await client.get(f"{RUNS}/{run['id']}/artifacts")).json()
        assert folder == {
            "path": "a",
            "is_dir": True,
            "size": None,
            "content_type": None,
            "updated_at": None,
            "sha256": None,
        }
        assert list(file) == ["path", "is_dir", "size", "content_type", "updated_at", "sha256"]
        assert (file["size"], file["content_type"]) == (5, "text/plain")
        assert file["updated_at"].endswith("Z")

    async def test_sizes_of_folders(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await stored(client, run["id"], "a/b.txt", "a/c/d", "e")
        listed = await client.get(f"{RUNS}/{run['id']}/artifacts", params={"sizes": True})
        assert [(one["path"], one["size"]) for one in listed.json()] == [("a", 12), ("e", 1)]

    @pytest.mark.parametrize("path", ["", "nothing"])
    async def test_nothing_there(
        self, client: httpx.AsyncClient, run: dict[str, Any], path: str
    ) -> None:
        assert await self.listed(client, run, path) == []

    async def test_pages(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        names = [f"f/{number}" for number in range(5)]
        await stored(client, run["id"], *names)
        found: list[str] = []
        page: str | None = f"{RUNS}/{run['id']}/artifacts?path=f&limit=2"
        sizes = []
        while page:
            response = await client.get(page)
            found += [one["path"] for one in response.json()]
            sizes.append(len(response.json()))
            page = response.links.get("next", {}).get("url")
        assert found == names
        assert sizes == [2, 2, 1]

    @pytest.mark.parametrize(
        ("params", "field"),
        [
            ({"path": ".."}, "path"),
            ({"path": "/"}, "path"),
            ({"path": "a\x00"}, "path"),
            ({"limit": 0}, "limit"),
            ({"limit": 1001}, "limit"),
            ({"page_token": "nonsense"}, "page_token"),
        ],
    )
    async def test_invalid(
        self, client: httpx.AsyncClient, run: dict[str, Any], params: dict[str, Any], field: str
    ) -> None:
        response = await client.get(f"{RUNS}/{run['id']}/artifacts", params=params)
        assert_problem(response, 422, field)


class TestDownloadArtifact:
    async def test_whole(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await upload(client, run["id"], "a.html", b"<script>", "f", "text/html")
        response = await client.get(url(run, "f/a.html"))
        assert response.status_code == 200
        assert response.content == b"<script>"
        assert response.headers["content-type"] == "text/html"
        assert response.headers["content-length"] == "8"
        assert response.headers["content-disposition"] == 'attachment; filename="a.html"'
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["accept-ranges"] == "bytes"
        assert response.headers["cache-control"] == "private, no-cache"
        assert response.headers["etag"].startswith('"')
        assert response.headers["last-modified"].endswith("GMT")

    @pytest.mark.parametrize(
        ("name", "disposition"),
        [
            (
                "größe.txt",
                "attachment; filename=\"gr__e.txt\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.txt",
            ),
            ("a b.txt", 'attachment; filename="a b.txt"'),
            ("100%.txt", "attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"),
        ],
    )
    async def test_names(
        self, client: httpx.AsyncClient, run: dict[str, Any], name: str, disposition: str
    ) -> None:
        await stored(client, run["id"], name)
        response = await client.get(url(run, name.replace("%", "%25")))
        assert response.status_code == 200
        assert response.headers["content-disposition"] == disposition

    async def test_head(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await upload(client, run["id"])
        client.headers["X-Request-ID"] = "of-both"
        got = await client.get(url(run, "a.bin"))
        head = await client.head(url(run, "a.bin"), headers={"Range": "bytes=0-1"})
        assert head.status_code == 200
        assert head.content == b""
        assert head.headers == got.headers

    @pytest.mark.parametrize(
        ("header", "start", "end"),
        [
            ("bytes=0-0", 0, 1),
            ("bytes=10-19", 10, 20),
            ("bytes=1000-", 1000, 1024),
            ("bytes=-24", 1000, 1024),
            ("bytes=-5000", 0, 1024),
            ("bytes=1000-99999", 1000, 1024),
            ("Bytes= 0-9 ", 0, 10),
        ],
    )
    async def test_range(
        self, client: httpx.AsyncClient, run: dict[str, Any], header: str, start: int, end: int
    ) -> None:
        await upload(client, run["id"])
        response = await client.get(url(run, "a.bin"), headers={"Range": header})
        assert response.status_code == 206
        assert response.content == CONTENT[start:end]
        assert response.headers["content-range"] == f"bytes {start}-{end - 1}/1024"
        assert response.headers["content-length"] == str(end - start)

    @pytest.mark.parametrize(
        "header",
        [
            "bytes=0-1,5-9",
            "bytes=9-1",
            "bytes=-",
            "bytes=a-b",
            "lines=0-1",
            "nonsense",
            "bytes=0-" + "9" * 5000,
        ],
    )
    async def test_range_ignored(
        self, client: httpx.AsyncClient, run: dict[str, Any], header: str
    ) -> None:
        await upload(client, run["id"])
        response = await client.get(url(run, "a.bin"), headers={"Range": header})
        assert response.status_code == 200
        assert response.content == CONTENT

    @pytest.mark.parametrize("header", ["bytes=1024-", "bytes=5000-6000", "bytes=-0"])
    async def test_range_beyond_the_end(
        self, client: httpx.AsyncClient, run: dict[str, Any], header: str
    ) -> None:
        await upload(client, run["id"])
        response = await client.get(url(run, "a.bin"), headers={"Range": header})
        assert_problem(response, 416)
        assert response.headers["content-range"] == "bytes */1024"

    async def test_range_of_an_empty_file(
        self, client: httpx.AsyncClient, run: dict[str, Any]
    ) -> None:
        await upload(client, run["id"], content=b"")
        response = await client.get(url(run, "a.bin"), headers={"Range": "bytes=0-"})
        assert_problem(response, 416)

    async def test_if_range(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await upload(client, run["id"])
        etag = (await client.head(url(run, "a.bin"))).headers["etag"]
        for condition, status in ((etag, 206), ('"other"', 200), (f"W/{etag}", 200)):
            response = await client.get(
                url(run, "a.bin"), headers={"Range": "bytes=0-1", "If-Range": condition}
            )
            assert response.status_code == status

    async def test_if_none_match(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await upload(client, run["id"])
        etag = (await client.head(url(run, "a.bin"))).headers["etag"]
        for condition in (etag, f"W/{etag}", f'"x", {etag}', "*"):
            response = await client.get(url(run, "a.bin"), headers={"If-None-Match": condition})
            assert response.status_code == 304
            assert response.content == b""
            assert response.headers["etag"] == etag
        response = await client.get(url(run, "a.bin"), headers={"If-None-Match": '"x"'})
        assert response.status_code == 200
        await upload(client, run["id"], content=b"changed")
        response = await client.get(url(run, "a.bin"), headers={"If-None-Match": etag})
        assert response.content == b"changed"

    async def test_absent(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        problem = assert_problem(await client.get(url(run, "f/a")), 404, "path")
        assert problem["detail"] == "No such artifact: 'f/a'"

    async def test_folder(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await stored(client, run["id"], "f/a")
        problem = assert_problem(await client.get(url(run, "f")), 404, "path")
        assert "archive=zip" in problem["detail"]

    @pytest.mark.parametrize("path", ["%2e/d/s", "d/%2e/s", "d//s", "d/s/%2e", "d/s/"])
    async def test_with_dots(
        self, client: httpx.AsyncClient, run: dict[str, Any], path: str
    ) -> None:
        """They are left out wherever a path is read: in listings, downloads and archives."""
        await upload(client, run["id"], "a.txt", b"x", "d/s")
        assert (await client.get(url(run, f"{path}/a.txt"))).content == b"x"
        listing = await client.get(
            f"{RUNS}/{run['id']}/artifacts", params={"path": path.replace("%2e", ".")}
        )
        assert [entry["path"] for entry in listing.json()] == ["d/s/a.txt"]
        archive = await client.get(url(run, path), params={"archive": "zip"})
        assert zipfile.ZipFile(io.BytesIO(archive.content)).namelist() == ["a.txt"]
        assert_problem(await client.delete(url(run, f"{path}//a.txt")), 422, "path")

    @pytest.mark.parametrize("path", ["%2e%2e/x", "a%5Cb", "%00", "/a", "%252e%252e/x"])
    async def test_invalid_path(
        self, client: httpx.AsyncClient, run: dict[str, Any], path: str
    ) -> None:
        assert_problem(await client.get(url(run, path)), 422, "path")

    async def test_of_a_deleted_run(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await upload(client, run["id"])
        await client.delete(f"{RUNS}/{run['id']}")
        assert (await client.get(url(run, "a.bin"))).content == CONTENT


class TestDownloadArchive:
    async def archive(
        self, client: httpx.AsyncClient, run: dict[str, Any], path: str
    ) -> zipfile.ZipFile:
        response = await client.get(url(run, path), params={"archive": "zip"})
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/zip"
        archive = zipfile.ZipFile(io.BytesIO(response.content))
        assert archive.testzip() is None
        return archive

    async def test_folder(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await stored(client, run["id"], "f/a", "f/deep/größe", "other", "f0/not")
        await upload(client, run["id"], "big", CONTENT * 3000, "f")
        archive = await self.archive(client, run, "f")
        assert archive.namelist() == ["a", "big", "deep/größe"]
        assert archive.read("deep/größe") == "f/deep/größe".encode()
        assert archive.read("big") == CONTENT * 3000

    async def test_whole_run(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await stored(client, run["id"], "f/a", "b")
        assert (await self.archive(client, run, "")).namelist() == ["b", "f/a"]

    async def test_name(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await stored(client, run["id"], "f/g/a")
        response = await client.get(url(run, "f/g"), params={"archive": "zip"})
        assert response.headers["content-disposition"] == 'attachment; filename="g.zip"'

    async def test_file_deleted_on_the_way(
        self,
        client: httpx.AsyncClient,
        run: dict[str, Any],
        services: Services,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Its row was read with its neighbours', and is gone when its turn comes."""
        await stored(client, run["id"], "f/a", "f/b", "f/c")
        opened = services.artifacts.open

        async def delete_the_second(
            tenant: Tenant, artifact: Artifact, **more: Any
        ) -> ObjectReader:
            if artifact.path.endswith("/b"):
                await services.artifacts.delete(tenant, artifact.path)
            return await opened(tenant, artifact, **more)

        monkeypatch.setattr(services.artifacts, "open", delete_the_second)
        assert (await self.archive(client, run, "f")).namelist() == ["a", "c"]

    async def test_file_lost_by_the_store(
        self,
        app: FastAPI,
        client: httpx.AsyncClient,
        run: dict[str, Any],
        services: Services,
        tenant: Tenant,
    ) -> None:
        """It is not passed over as if there were no such file."""
        await stored(client, run["id"], "f/a", "f/b")
        folder = f"experiments/{run['experiment_id']}/runs/{run['id']}/artifacts/f"
        artifact = await services.artifacts.get(tenant, f"{folder}/b")
        await services.artifacts.store.delete(tenant.slug, [artifact.key])
        sent = await cut_off(app, client, f"{url(run, 'f')}?archive=zip")
        with pytest.raises(zipfile.BadZipFile):
            zipfile.ZipFile(io.BytesIO(sent))

    async def test_head(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await stored(client, run["id"], "f/a")
        answer = await client.head(url(run, "f"), params={"archive": "zip"})
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"] == "application/zip"
        assert answer.headers["content-disposition"] == 'attachment; filename="f.zip"'

    @pytest.mark.parametrize("path", ["nothing", "file", ""])
    async def test_empty(self, client: httpx.AsyncClient, run: dict[str, Any], path: str) -> None:
        if path == "file":
            await stored(client, run["id"], "file")
        response = await client.get(url(run, path), params={"archive": "zip"})
        assert_problem(response, 404, "path")

    async def test_store_fails_on_the_way(
        self,
        app: FastAPI,
        client: httpx.AsyncClient,
        run: dict[str, Any],
        services: Services,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """What was sent so far is no ZIP file, so that nobody takes it for the whole folder."""
        await stored(client, run["id"], "f/a", "f/b")
        opened = services.artifacts.open

        async def fail_on_the_second(
            tenant: Tenant, artifact: Artifact, **more: Any
        ) -> ObjectReader:
            if artifact.path.endswith("/b"):
                raise UnavailableError("gone")
            return await opened(tenant, artifact, **more)

        monkeypatch.setattr(services.artifacts, "open", fail_on_the_second)
        sent = await cut_off(app, client, f"{url(run, 'f')}?archive=zip")
        assert sent[:4] == b"PK\x03\x04"
        with pytest.raises(zipfile.BadZipFile):
            zipfile.ZipFile(io.BytesIO(sent))

    async def test_other_kind(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        response = await client.get(url(run, "f"), params={"archive": "tar"})
        assert_problem(response, 422, "archive")

    async def test_memory_stays_flat(
        self, app: FastAPI, client: httpx.AsyncClient, run: dict[str, Any], tenant: Tenant
    ) -> None:
        """Straight to the application: httpx's transport for tests gathers whole answers."""
        size = 16 << 20
        for name in ("a", "b", "c", "d"):
            await upload(client, run["id"], name, bytes(size), "f")
        sent = 0

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Any) -> None:
            nonlocal sent
            sent += len(message.get("body", b""))

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": f"/t/{tenant.slug}{url(run, 'f')}",
            "raw_path": f"/t/{tenant.slug}{url(run, 'f')}".encode(),
            "query_string": b"archive=zip",
            "root_path": "",
            "headers": [(b"host", b"test")],
            "server": ("test", 80),
            "client": ("test", 1),
        }
        tracemalloc.start()
        try:
            await app(scope, receive, send)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert sent > 4 * size // 2000
        assert peak < size


class TestDeleteArtifact:
    async def test_file(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await stored(client, run["id"], "f/a", "f/b")
        response = await client.delete(url(run, "f/a"))
        assert response.status_code == 204
        assert response.content == b""
        assert_problem(await client.get(url(run, "f/a")), 404)
        assert (await client.get(url(run, "f/b"))).status_code == 200

    async def test_folder(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await stored(client, run["id"], "f/a", "f/deep/b", "f0")
        assert (await client.delete(url(run, "f"))).status_code == 204
        shown = (await client.get(f"{RUNS}/{run['id']}")).json()
        assert shown["artifacts"] == ["f0"]

    async def test_absent(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        problem = assert_problem(await client.delete(url(run, "f/a")), 404, "path")
        assert problem["detail"] == "No such artifact: 'f/a'"

    async def test_not_the_whole_run(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await stored(client, run["id"], "a")
        assert_problem(await client.delete(url(run, "")), 422, "path")
        assert (await client.get(url(run, "a"))).status_code == 200

    async def test_deleted_run(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await stored(client, run["id"], "a")
        await client.delete(f"{RUNS}/{run['id']}")
        assert_problem(await client.delete(url(run, "a")), 409, "run_id")
