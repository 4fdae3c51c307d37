"""Many files in a form that is streamed, and copies."""

import hashlib
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.api.workbench import artifact_uploads
from app.kernel.tenant import Tenant
from app.services import Services
from tests.integration.workbench_api.support import (
    RUNS,
    assert_problem,
    new_experiment,
    new_run,
)

FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def files(*named: tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", one) for one in named]


def target(run: dict[str, Any]) -> str:
    return f"{RUNS}/{run['id']}/artifacts"


def part(disposition: str, content: bytes = b"x") -> bytes:
    return f"--x\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"


async def contents(client: httpx.AsyncClient, run: dict[str, Any]) -> dict[str, bytes]:
    """Every file of the run."""
    paths = (await client.get(f"{RUNS}/{run['id']}")).json()["artifacts"]
    return {path: (await client.get(f"{target(run)}/{path}")).content for path in paths}


class TestUploadFiles:
    async def test_many(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        sent = {f"f{number}.json": b"{}" * number for number in range(20)}
        response = await client.post(
            target(run), files=files(*sent.items()), params={"path": "model"}
        )
        assert response.status_code == 200, response.text
        answer = response.json()
        assert answer["run_id"] == run["id"]
        assert [one["path"] for one in answer["artifacts"]] == [f"model/{name}" for name in sent]
        for one, content in zip(answer["artifacts"], sent.values(), strict=True):
            assert one["size"] == len(content)
            assert one["sha256"] == hashlib.sha256(content).hexdigest()
            assert one["content_type"] == "application/json"
        assert await contents(client, run) == {f"model/{k}": v for k, v in sent.items()}

    async def test_in_folders(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        """As a browser sends a whole folder."""
        sent = files(("a/b.txt", b"1"), ("a/größe 预测.txt", b"2"))
        assert (await client.post(target(run), files=sent)).status_code == 200
        assert await contents(client, run) == {"a/b.txt": b"1", "a/größe 预测.txt": b"2"}

    async def test_replaces(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        for content in (b"old", b"new"):
            await client.post(target(run), files=files(("a", content)))
        assert await contents(client, run) == {"a": b"new"}

    async def test_memory_stays_flat(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        size, chunk = 96 << 20, bytes(1 << 20)

        async def form() -> AsyncIterator[bytes]:
            for name in ("a", "b"):
                yield part(f'form-data; name="file"; filename="{name}"', b"")[:-2]
                for _ in range(size // len(chunk)):
                    yield chunk
                yield b"\r\n"
            yield b"--x--\r\n"

        tracemalloc.start()
        try:
            response = await client.post(target(run), content=form(), headers=FORM)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert [one["size"] for one in response.json()["artifacts"]] == [size, size]
        assert peak < 32 << 20

    @pytest.mark.parametrize("chunk_bytes", [1, 7, 64, 1000])
    async def test_in_chunks_of_any_size(
        self, client: httpx.AsyncClient, run: dict[str, Any], chunk_bytes: int
    ) -> None:
        content = b"\r\n--y\r\n-\r\n--\r\r\n-" * 30
        body = (
            part('form-data; name="file"; filename="a"', content)
            + part('form-data; name="file"; filename="b"', b"")
            + b"--x--\r\n"
        )

        async def form() -> AsyncIterator[bytes]:
            for start in range(0, len(body), chunk_bytes):
                yield body[start : start + chunk_bytes]

        response = await client.post(target(run), content=form(), headers=FORM)
        assert response.status_code == 200, response.text
        assert await contents(client, run) == {"a": content, "b": b""}

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            (b"", "body"),
            (b"nonsense", "body"),
            (b"--x--\r\n", "file"),
            (part('form-data; name="file"; filename="a"')[:-4], "body"),
            (part('form-data; name="file"; filename="a"'), "body"),
            (part('form-data; filename="a"') + b"--x--\r\n", "body"),
            (part("attachment") + b"--x--\r\n", "body"),
            (part('form-data; name="file"') + b"--x--\r\n", "file"),
            (part('form-data; name="file"; filename=""') + b"--x--\r\n", "file"),
            (part('form-data; name="folder"') + b"--x--\r\n", "folder"),
            (part('form-data; name="file"; filename="../a"') + b"--x--\r\n", "path"),
            (part('form-data; name="file"; filename="/a"') + b"--x--\r\n", "path"),
            (part('form-data; name="file"; filename="a#b"') + b"--x--\r\n", "path"),
            (part(f'form-data; name="file"; filename="{"a" * 9000}"') + b"--x--\r\n", "body"),
        ],
    )
    async def test_bad_form(
        self, client: httpx.AsyncClient, run: dict[str, Any], body: bytes, field: str
    ) -> None:
        assert_problem(await client.post(target(run), content=body, headers=FORM), 422, field)
        assert await contents(client, run) == {}

    @pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "multipart/mixed"])
    async def test_no_form(self, client: httpx.AsyncClient, run: dict[str, Any], kind: str) -> None:
        response = await client.post(target(run), content=b"{}", headers={"Content-Type": kind})
        assert_problem(response, 415)

    async def test_one_at_fault(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        """Those before it are there, whole; those after it are not."""
        await client.post(target(run), files=files(("folder/a", b"0")))
        sent = files(("first", b"1"), ("folder", b"2"), ("last", b"3"))
        problem = assert_problem(await client.post(target(run), files=sent), 409, "path")
        assert problem["detail"] == "'folder' is a folder"
        assert await contents(client, run) == {"first": b"1", "folder/a": b"0"}

    async def test_too_many(
        self, client: httpx.AsyncClient, run: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(artifact_uploads, "MAX_FILES", 20)
        sent = files(*((f"{number}", b"") for number in range(21)))
        assert_problem(await client.post(target(run), files=sent), 422, "file")

    async def test_deleted_run(
        self, client: httpx.AsyncClient, deleted_run: dict[str, Any]
    ) -> None:
        response = await client.post(target(deleted_run), files=files(("a", b"a")))
        assert_problem(response, 409, "run_id")

    async def test_elsewhere(self, client: httpx.AsyncClient) -> None:
        elsewhere = await new_experiment(client, name="s3", artifact_location="s3://bucket/path")
        run = await new_run(client, experiment_id=elsewhere["id"])
        assert_problem(await client.post(target(run), files=files(("a", b"a"))), 409, "run_id")


class TestCopy:
    async def copy(
        self, client: httpx.AsyncClient, run: dict[str, Any], **body: Any
    ) -> httpx.Response:
        return await client.post(f"{target(run)}/copy", json=body)

    async def test_folder_of_another_run(
        self, client: httpx.AsyncClient, run: dict[str, Any], services: Services, tenant: Tenant
    ) -> None:
        source = await new_run(client)
        sent = {f"model/{number}": b"x" * number for number in range(30)}
        await client.post(target(source), files=files(*sent.items(), ("model.txt", b"not")))
        response = await self.copy(
            client, run, source_run_id=source["id"], source_path="model", path="kept/best"
        )
        assert response.json() == {
            "run_id": run["id"],
            "path": "kept/best",
            "files": 30,
            "bytes": sum(range(30)),
        }
        await client.delete(f"{target(source)}/model")
        expected = {path.replace("model", "kept/best"): sent[path] for path in sent}
        assert await contents(client, run) == expected
        shown = (await client.get(target(run), params={"path": "kept/best"})).json()
        assert [one["sha256"] for one in shown] == [
            hashlib.sha256(content).hexdigest() for _, content in sorted(expected.items())
        ]

    async def test_file_in_the_same_run(
        self, client: httpx.AsyncClient, run: dict[str, Any]
    ) -> None:
        await client.post(target(run), files=files(("a", b"content")))
        response = await self.copy(client, run, source_path="a", path="b/c")
        assert (response.json()["files"], response.json()["bytes"]) == (1, 7)
        assert await contents(client, run) == {"a": b"content", "b/c": b"content"}

    async def test_replaces(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await client.post(target(run), files=files(("a", b"new"), ("b", b"old")))
        for _ in range(2):
            assert (await self.copy(client, run, source_path="a", path="b")).status_code == 200
        assert await contents(client, run) == {"a": b"new", "b": b"new"}

    @pytest.mark.parametrize(
        ("source_path", "path", "status", "field"),
        [
            ("folder", "folder/inside", 422, "path"),
            ("folder", "folder", 422, "path"),
            ("folder", "a", 409, "path"),
            ("a", "folder", 409, "path"),
            ("a", "a/b", 409, "path"),
            ("none", "b", 404, "path"),
            ("", "b", 422, "path"),
            ("a", "", 422, "path"),
            ("../a", "b", 422, "path"),
            ("a", "../b", 422, "path"),
        ],
    )
    async def test_refused(
        self,
        client: httpx.AsyncClient,
        run: dict[str, Any],
        source_path: str,
        path: str,
        status: int,
        field: str,
    ) -> None:
        await client.post(target(run), files=files(("a", b"1"), ("folder/b", b"2")))
        response = await self.copy(client, run, source_path=source_path, path=path)
        assert_problem(response, status, field)
        assert await contents(client, run) == {"a": b"1", "folder/b": b"2"}

    async def test_to_a_deleted_run(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        source = await new_run(client)
        await client.post(target(source), files=files(("a", b"1")))
        await client.delete(f"{RUNS}/{run['id']}")
        response = await self.copy(
            client, run, source_run_id=source["id"], source_path="a", path="a"
        )
        assert_problem(response, 409, "run_id")
