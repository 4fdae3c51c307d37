"""The routes by which MLflow's page reads and writes files."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from app.api.mlflow import PREFIXES
from app.api.mlflow.page_files import MAX_UPLOAD_BYTES
from tests.integration.mlflow_api.model_calls import API, create_id, invalid, not_found, refused
from tests.integration.mlflow_api.tracking_calls import (
    NO_RUN,
    absent_run,
    deleted_run,
    done,
    get,
    missing,
    new_experiment,
    new_run,
    ok,
    post,
    run_is_deleted,
)

PROXY = "/api/2.0/mlflow-artifacts/artifacts"
UPLOAD = "/ajax-api/2.0/mlflow/upload-artifact"
ANYWHERE = [f"{prefix}/mlflow" for prefix in PREFIXES] + [""]


async def put(client: httpx.AsyncClient, run_id: str, path: str, content: bytes) -> None:
    url = f"{PROXY}/experiments/0/runs/{run_id}/artifacts/{quote(path)}"
    done(await client.put(url, content=content))


class TestOfRun:
    @pytest.mark.parametrize("prefix", ANYWHERE)
    @pytest.mark.parametrize("field", ["run_id", "run_uuid"])
    async def test_is_an_attachment(
        self, client: httpx.AsyncClient, prefix: str, field: str
    ) -> None:
        run_id = await new_run(client)
        await put(client, run_id, "d/page.html", b"<script>")
        answer = await client.get(
            f"{prefix}/get-artifact", params={field: run_id, "path": "d/page.html"}
        )
        assert (answer.status_code, answer.content) == (200, b"<script>")
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["content-disposition"] == 'attachment; filename="page.html"'
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]

    async def test_range_and_head(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        await put(client, run_id, "a.txt", b"hello")
        query = {"run_id": run_id, "path": "a.txt"}
        part = await client.get("/get-artifact", params=query, headers={"range": "bytes=1-2"})
        assert (part.status_code, part.content) == (206, b"el")
        behind = await client.get("/get-artifact", params=query, headers={"range": "bytes=9-"})
        refused(behind, 416, "BAD_REQUEST", "The file has 5 bytes")
        head = await client.head("/get-artifact", params=query)
        assert (head.status_code, head.headers["content-length"]) == (200, "5")

    @pytest.mark.parametrize("path", ["./d/a%20b.txt", "d//a%20b.txt", "d/a b.txt", "d/./a b.txt"])
    async def test_path_as_the_page_writes_it(self, client: httpx.AsyncClient, path: str) -> None:
        run_id = await new_run(client)
        await put(client, run_id, "d/a%20b.txt", b"x")
        answer = await client.get("/get-artifact", params={"run_id": run_id, "path": path})
        assert (answer.status_code, answer.content) == (200, b"x")

    async def test_refusals(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        await put(client, run_id, "d/a.txt", b"x")

        async def answer(**query: str) -> httpx.Response:
            return await client.get("/get-artifact", params=query)

        missing(await answer(run_id=run_id), "path")
        missing(await answer(path="a.txt"), "run_id")
        absent_run(await answer(run_id=NO_RUN, path="a.txt"), NO_RUN)
        for path in ("..", "/etc/passwd", "d/../x", "%2e%2e/x", "a\x00", "."):
            invalid(await answer(run_id=run_id, path=path), "Invalid path")
        absent = await answer(run_id=run_id, path="none")
        assert (absent.status_code, absent.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
        invalid(await answer(run_id=run_id, path="d"), "refers to a directory, not a file")

    async def test_location_of_the_users(self, client: httpx.AsyncClient) -> None:
        experiment_id = await new_experiment(client, artifact_location="s3://bucket/x")
        run_id = await new_run(client, experiment_id)
        answer = await client.get("/get-artifact", params={"run_id": run_id, "path": "a"})
        invalid(answer, f"s3://bucket/x/{run_id}/artifacts")

    async def test_other_methods(self, client: httpx.AsyncClient) -> None:
        for url in ("/get-artifact", f"{API}/get-artifact"):
            answer = await client.delete(url)
            assert (answer.status_code, answer.json()["error_code"]) == (405, "ENDPOINT_NOT_FOUND")


class TestOfVersion:
    async def version(self, client: httpx.AsyncClient, source: str, run_id: str = "") -> None:
        ok(await post(client, "registered-models/create", name="m"))
        ok(await post(client, "model-versions/create", name="m", source=source, run_id=run_id))

    async def file(self, client: httpx.AsyncClient, **query: str) -> httpx.Response:
        return await client.get("/model-versions/get-artifact", params=query)

    @pytest.mark.parametrize("by", ["artifacts", "runs"])
    async def test_of_a_run(self, client: httpx.AsyncClient, by: str) -> None:
        run_id = await new_run(client)
        await put(client, run_id, "model/MLmodel", b"flavors: {}")
        root = f"mlflow-artifacts:/experiments/0/runs/{run_id}/artifacts"
        await self.version(
            client, f"{root if by == 'artifacts' else f'runs:/{run_id}'}/model", run_id
        )
        answer = await self.file(client, name="m", version="1", path="MLmodel")
        assert (answer.status_code, answer.content) == (200, b"flavors: {}")
        assert answer.headers["content-disposition"].startswith("attachment")
        invalid(await self.file(client, name="m", version="1", path="../x"), "Invalid path")
        absent = await self.file(client, name="m", version="1", path="none")
        assert absent.status_code == 404

    async def test_of_a_logged_model(self, client: httpx.AsyncClient) -> None:
        model_id = await create_id(client)
        url = f"{PROXY}/experiments/0/models/{model_id}/artifacts/MLmodel"
        done(await client.put(url, content=b"x"))
        ok(await post(client, "registered-models/create", name="m"))
        version: dict[str, Any] = {"source": f"models:/{model_id}", "model_id": model_id}
        ok(await post(client, "model-versions/create", name="m", **version))
        answer = await self.file(client, name="m", version="1", path="MLmodel")
        assert (answer.status_code, answer.content) == (200, b"x")

    async def test_refusals(self, client: httpx.AsyncClient) -> None:
        await self.version(client, "s3://bucket/model")
        invalid(await self.file(client, name="m", version="1", path="a"), "s3://bucket/model")
        for field in ("name", "version", "path"):
            query = {"name": "m", "version": "1", "path": "a"}
            del query[field]
            missing(await self.file(client, **query), field)
        assert (await self.file(client, name="m", version="2", path="a")).status_code == 404
        assert (await self.file(client, name="m", version="x", path="a")).status_code == 400


class TestOfLoggedModel:
    async def file(self, client: httpx.AsyncClient, model_id: str, **query: str) -> httpx.Response:
        url = f"/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files"
        return await client.get(url, params=query)

    async def test_is_an_attachment(self, client: httpx.AsyncClient) -> None:
        model_id = await create_id(client)
        url = f"{PROXY}/experiments/0/models/{model_id}/artifacts/d/MLmodel"
        done(await client.put(url, content=b"x"))
        for path in ("d/MLmodel", "./d//MLmodel"):
            answer = await self.file(client, model_id, artifact_file_path=path)
            assert (answer.status_code, answer.content) == (200, b"x")
            assert answer.headers["content-disposition"].startswith("attachment")

    async def test_refusals(self, client: httpx.AsyncClient) -> None:
        model_id = await create_id(client)
        words = 'Request must include the "artifact_file_path" query parameter.'
        refused(await self.file(client, model_id), 400, "BAD_REQUEST", words)
        invalid(await self.file(client, model_id, artifact_file_path="../x"), "Invalid path")
        none = f"m-{'0' * 32}"
        not_found(await self.file(client, none, artifact_file_path="a"), none)


class TestUpload:
    async def upload(
        self, client: httpx.AsyncClient, content: Any = b"x", **query: str
    ) -> httpx.Response:
        return await client.post(UPLOAD, params=query, content=content)

    async def test_stores_the_body(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        answer = await self.upload(client, b"[1]", run_uuid=run_id, path="d/table.json")
        assert (answer.status_code, answer.content) == (200, b"")
        query = {"run_uuid": run_id, "path": "d/table.json"}
        found = await client.get("/get-artifact", params=query)
        assert found.content == b"[1]"
        assert found.headers["content-type"] == "application/json"

    async def test_refusals(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        invalid(await self.upload(client, path="a"), "Request must specify run_uuid.")
        invalid(await self.upload(client, run_uuid=run_id), "Request must specify path.")
        absent_run(await self.upload(client, run_uuid=NO_RUN, path="a"), NO_RUN)
        for path in ("..", "/x", "a/../b", "./a", "a\x00"):
            invalid(await self.upload(client, run_uuid=run_id, path=path), "Invalid path")
        empty = await self.upload(client, b"", run_uuid=run_id, path="a")
        invalid(empty, "Request must specify data.")
        deleted = await deleted_run(client)
        run_is_deleted(await self.upload(client, run_uuid=deleted, path="a"), deleted)
        assert "files" not in ok(await get(client, "artifacts/list", run_id=run_id))

    @pytest.mark.parametrize("declared", [True, False])
    async def test_limit(self, client: httpx.AsyncClient, declared: bool) -> None:
        run_id = await new_run(client)

        async def chunks(size: int) -> Any:
            for _ in range(size // 1024):
                yield b"x" * 1024
            yield b"x" * (size % 1024)

        for size, status in ((MAX_UPLOAD_BYTES, 200), (MAX_UPLOAD_BYTES + 1, 400)):
            body = b"x" * size if declared else chunks(size)
            answer = await self.upload(client, body, run_uuid=run_id, path=f"{size}.bin")
            assert answer.status_code == status, answer.text
        invalid(answer, "Artifact size is too large. Max size is 10MB.")
        (kept,) = ok(await get(client, "artifacts/list", run_id=run_id))["files"]
        assert kept["file_size"] == MAX_UPLOAD_BYTES
