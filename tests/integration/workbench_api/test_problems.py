"""Errors of the workbench API: problem details."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.api.request_body import MAX_BODY_BYTES
from app.kernel.errors import PermissionDeniedError, UnavailableError
from app.services import Services
from tests.integration.workbench_api.support import ABSENT_RUN, RUNS, V1, assert_problem

URL = f"{V1}/experiments"
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("GET", "", {}),
        ("PATCH", "", {"json": {"name": "x"}}),
        ("DELETE", "", {}),
        ("POST", "/restore", {}),
        ("POST", "/end", {"json": {}}),
        ("POST", "/log-metrics", {"json": {"metrics": {"m": 1}}}),
        ("POST", "/log-params", {"json": {"params": {"p": 1}}}),
        ("POST", "/log-batch", {"json": {}}),
        ("GET", "/metrics/m", {}),
        ("POST", "/log-artifact", {"files": {"file": ("a", b"a")}}),
        ("POST", "/artifacts", {"files": {"file": ("a", b"a")}}),
        ("POST", "/artifacts/copy", {"json": {"source_path": "a", "path": "b"}}),
        ("GET", "/artifacts", {}),
        ("GET", "/artifacts/a", {}),
        ("GET", "/artifacts/a?preview", {}),
        ("GET", "/artifacts/a?archive=zip", {}),
        ("DELETE", "/artifacts/a", {}),
    ],
)
async def test_a_run_that_is_not_there(
    client: httpx.AsyncClient, method: str, path: str, sent: dict[str, Any]
) -> None:
    assert_problem(await client.request(method, f"{RUNS}/{ABSENT_RUN}{path}", **sent), 404)


class TestTenant:
    @pytest.mark.parametrize("name", ["Acme", "a_b", "-a", "a-", "a" * 49, "a b", "ä"])
    async def test_malformed(self, app: FastAPI, client: httpx.AsyncClient, name: str) -> None:
        header = await httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test"
        ).get(URL, headers={"X-Tenant-ID": name.encode()})
        assert_problem(header, 400, "tenant")
        assert_problem(await client.get(f"http://test/t/{name}{URL}"), 404, "tenant")

    async def test_disagreeing(self, client: httpx.AsyncClient) -> None:
        response = await client.get(URL, headers={"X-Tenant-ID": "another"})
        assert_problem(response, 400, "tenant")

    async def test_agreeing(self, client: httpx.AsyncClient) -> None:
        slug = str(client.base_url).rstrip("/").rpartition("/")[2]
        response = await client.get(URL, headers={"X-Tenant-ID": slug, "X-MLFLOW-WORKSPACE": slug})
        assert response.status_code == 200

    async def test_header_alone(
        self, app: FastAPI, client: httpx.AsyncClient, run: dict[str, Any]
    ) -> None:
        slug = run["tags"]["matih.tenant_id"]
        for header in ("X-Tenant-ID", "X-MLFLOW-WORKSPACE"):
            response = await httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://test", headers={header: slug}
            ).get(f"{RUNS}/{run['id']}")
            assert response.json() == run


class TestBody:
    @pytest.mark.parametrize(
        "body",
        [b"{", b'{"name": }', b"nonsense", b"\xff\xfe{}", b"[" * 100_000, b'{"a": ' + b"1" * 5000],
    )
    async def test_malformed_json(self, client: httpx.AsyncClient, body: bytes) -> None:
        assert_problem(await client.post(URL, content=body, headers=JSON), 400)

    async def test_missing(self, client: httpx.AsyncClient) -> None:
        assert_problem(await client.post(URL), 422, "body")

    @pytest.mark.parametrize(
        "headers", [{}, {"Content-Type": "text/plain"}, {"Content-Type": "multipart/form-data"}]
    )
    async def test_not_json(self, client: httpx.AsyncClient, headers: dict[str, str]) -> None:
        response = await client.post(URL, content=b'{"name": "a"}', headers=headers)
        assert_problem(response, 415)

    @pytest.mark.parametrize(
        "content_type",
        ["application/json; charset=utf-8", "Application/JSON", "application/x+json"],
    )
    async def test_json(self, client: httpx.AsyncClient, content_type: str) -> None:
        response = await client.post(
            URL, content=b'{"name": "a"}', headers={"Content-Type": content_type}
        )
        assert response.status_code == 201

    async def test_declared_too_large(self, client: httpx.AsyncClient) -> None:
        headers = JSON | {"Content-Length": str(6 * MAX_BODY_BYTES + 1)}
        assert_problem(await client.post(URL, content=b"{}", headers=headers), 413)

    async def test_too_large(self, client: httpx.AsyncClient) -> None:
        read = 0

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal read
            for _ in range(100):
                read += 1 << 20
                yield b" " * (1 << 20)

        assert_problem(await client.post(URL, content=chunks(), headers=JSON), 413)

    async def test_long_key_is_cut(self, client: httpx.AsyncClient) -> None:
        response = await client.post(URL, json={"k" * 100_000: 1, "name": "a"})
        assert_problem(response, 422)
        assert len(response.content) < 10_000


class TestRoutes:
    @pytest.mark.parametrize("path", ["/nothing", f"{V1}/nothing", f"{RUNS}/a/b/c", "/t/acme/x"])
    async def test_unknown(self, app: FastAPI, path: str) -> None:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test"
        ) as client:
            problem = assert_problem(await client.get(path), 404)
        assert path in problem["detail"]

    async def test_method(self, client: httpx.AsyncClient) -> None:
        response = await client.put(URL)
        assert_problem(response, 405)
        assert response.headers["allow"]

    async def test_instance_is_a_uri(self, client: httpx.AsyncClient) -> None:
        problem = assert_problem(await client.get(f"{V1}/n%C3%B6 <x>"), 404)
        assert problem["instance"].endswith("/api/v1/n%C3%B6%20%3Cx%3E")


class TestFailures:
    @pytest.fixture
    def failing(self, services: Services, monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
        errors: list[Exception] = []

        async def fail(*_: object, **__: object) -> None:
            raise errors[0]

        monkeypatch.setattr(type(services.experiments), "get", fail)
        return errors

    async def test_unexpected(self, client: httpx.AsyncClient, failing: list[Exception]) -> None:
        failing.append(RuntimeError("password=hunter2"))
        response = await client.get(f"{URL}/0")
        assert_problem(response, 500)
        assert "hunter2" not in response.text

    async def test_unavailable(self, client: httpx.AsyncClient, failing: list[Exception]) -> None:
        failing.append(UnavailableError("The database is not available; try again shortly"))
        response = await client.get(f"{URL}/0")
        assert_problem(response, 503)
        assert response.headers["retry-after"] == "1"

    async def test_denied(self, client: httpx.AsyncClient, failing: list[Exception]) -> None:
        failing.append(PermissionDeniedError("The key is another tenant's"))
        assert_problem(await client.get(f"{URL}/0"), 403)
