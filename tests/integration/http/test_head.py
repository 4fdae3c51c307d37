"""HEAD is answered as GET is, without the body, on every path that GET is served for."""

import http.client
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI

from app.kernel.tenant import Tenant
from tests.contract.isolation.callers import Caller
from tests.contract.isolation.routes import HEADS, served
from tests.integration.mlflow_api.tracking_calls import ok

# Of each answer its own, or of the moment.
OF_THE_ANSWER = {"x-request-id", "date"}
# Made while they are sent: HTTP has no length of them beforehand.
STREAMED = {"transfer-encoding"}
API = "/api/2.0/mlflow"


def headers_of(answer: httpx.Response) -> dict[str, str]:
    return {
        name: value
        for name, value in answer.headers.items()
        if name not in OF_THE_ANSWER | STREAMED
    }


async def test_every_get_has_a_head(app: FastAPI) -> None:
    caller = await Caller.fresh(app)
    tried = 0
    for route in served(app).values():
        if route.method != "GET":
            continue
        path = route.path
        for name in re.findall(r"{(\w+)}", path):
            path = path.replace(f"{{{name}}}", caller.own.get(f"own_{name[:-3]}", "x"))
        if path == "/metrics":
            continue  # its length is of the moment
        got = await caller.client.get(path)
        asked = await caller.client.head(path)
        assert asked.status_code == got.status_code, path
        assert headers_of(asked) == headers_of(got), path
        assert asked.content == b""
        tried += 1
    assert tried > 60


def exchange(url: str, method: str, path: str) -> tuple[int, dict[str, str], bytes, bytes]:
    """A request over a connection of its own: the status, the headers, the body, and what came
    after the next answer on the same connection was read."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=20)
    try:
        connection.request(method, f"{where.path}{path}")
        answer = connection.getresponse()
        body = answer.read()
        # A body that was sent in spite of the HEAD would be taken for the head of this one.
        connection.request("GET", "/health")
        after = connection.getresponse().read()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, body, after
    finally:
        connection.close()


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/health", "/ready", "/version", "/api/v1/version", "/docs", "/docs.js"),
        *("/openapi.json", "/static-offline-docs/swagger-ui-bundle.js", "/metrics"),
        *("/api/v1/experiments", "/api/v1/experiments/", "/api/v1/nowhere", "/nowhere"),
        *(f"{API}/experiments/search", f"{API}/experiments/get", f"{API}/nowhere"),
        *(f"{API}/runs/create", f"{API}-artifacts/artifacts", f"{API}-artifacts/artifacts/x"),
        "/get-artifact",
    ],
)
def test_over_the_wire(tracking_uri: str, path: str) -> None:
    got = exchange(tracking_uri, "GET", path)
    status, headers, body, after = exchange(tracking_uri, "HEAD", path)
    assert (status, body) == (got[0], b"")
    assert after == b'{"status":"ok"}'
    if path != "/metrics":
        assert headers.get("content-length") == got[1].get("content-length")
    assert headers.get("content-type") == got[1].get("content-type")


class TestFiles:
    """Of which nothing is read."""

    @pytest.fixture
    async def run(self, client: httpx.AsyncClient) -> str:
        created = await client.post(f"{API}/runs/create", json={"experiment_id": "0"})
        run_id: str = ok(created)["run"]["info"]["run_id"]
        for number in range(3):
            ok(await client.put(self.proxied(run_id, f"folder/{number}.bin"), content=b"x" * 1000))
        return run_id

    @staticmethod
    def proxied(run_id: str, path: str) -> str:
        return f"{API}-artifacts/artifacts/experiments/0/runs/{run_id}/artifacts/{path}"

    async def test_a_download(self, client: httpx.AsyncClient, run: str) -> None:
        for path in (
            self.proxied(run, "folder/0.bin"),
            f"/api/v1/experiments/runs/{run}/artifacts/folder/0.bin",
        ):
            got, asked = await client.get(path), await client.head(path)
            assert (asked.status_code, asked.headers["content-length"]) == (200, "1000")
            assert headers_of(asked) == headers_of(got)
            unchanged = await client.head(path, headers={"if-none-match": got.headers["etag"]})
            assert unchanged.status_code == 304
            part = await client.head(path, headers={"range": "bytes=1-2"})
            assert (part.status_code, part.headers["content-length"]) == (200, "1000")

    async def test_of_which_the_store_has_lost_the_bytes(
        self, client: httpx.AsyncClient, run: str, data_dir: Path, tenant: Tenant
    ) -> None:
        """So that reading one would fail."""
        shutil.rmtree(data_dir / "artifacts" / tenant.slug)
        downloads = [
            self.proxied(run, "folder/0.bin"),
            f"/api/v1/experiments/runs/{run}/artifacts/folder/0.bin",
        ]
        for path in downloads:
            assert (await client.get(path)).status_code >= 400
            asked = await client.head(path)
            assert (asked.status_code, asked.headers["content-length"]) == (200, "1000")
        asked = await client.head(f"/api/v1/experiments/runs/{run}/artifacts/folder?archive=zip")
        assert asked.status_code == 200
        assert asked.headers["content-type"] == "application/zip"
        assert "content-length" not in asked.headers

    async def test_by_a_signed_url(self, client: httpx.AsyncClient, run: str) -> None:
        signed = await client.post(
            f"{API}/artifacts/presigned-download-url", json={"run_id": run, "path": "folder/0.bin"}
        )
        url = ok(signed)["presigned_url"]
        asked = await client.head(url)
        assert (asked.status_code, asked.headers["content-length"]) == (200, "1000")
        assert (await client.head(f"{url}0")).status_code == 403


class TestStreamed:
    """Of which nothing is made."""

    async def test_a_long_listing(
        self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.api.mlflow.artifacts.PAGE", 1)
        run = ok(await client.post(f"{API}/runs/create", json={"experiment_id": "0"}))
        uri = run["run"]["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
        for number in range(3):
            ok(await client.put(f"{API}-artifacts/artifacts/{uri}/{number}", content=b"x"))
        for path in (
            f"{API}-artifacts/artifacts?path={uri}",
            f"{API}/artifacts/list?run_id={run['run']['info']['run_id']}",
        ):
            got, asked = await client.get(path), await client.head(path)
            assert len(ok(got)["files"]) == 3
            assert "content-length" not in got.headers
            assert (asked.status_code, headers_of(asked)) == (200, headers_of(got))

    def test_what_answers_it_is_tried_with_other_tenants_ids(self, app: FastAPI) -> None:
        """HEADS has the routes that look whether they are asked for headers alone."""
        assert {f"HEAD {path}" for path in HEADS} <= set(served(app))


def test_is_counted_as_what_it_is(server_url: str) -> None:
    exchange(server_url, "HEAD", "/docs.js")
    _, _, metrics, _ = exchange(server_url, "GET", "/metrics")
    assert re.search(
        rb'tracking_requests_total{method="HEAD",route="/docs.js",status="200"[^}]*} [1-9]', metrics
    )
