"""Request ids and security headers of every response."""

import re

import httpx
import pytest
from fastapi.routing import APIRoute
from pydantic import ValidationError

from app.config import Settings
from tests.conftest import AppClient
from tests.integration.observability.conftest import Serve


class TestRequestId:
    async def test_is_the_given_one(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/health", headers={"X-Request-ID": "abc-1.2:3_Z"})
        assert answer.headers["x-request-id"] == "abc-1.2:3_Z"

    @pytest.mark.parametrize(
        "given", ["", "a b", 'a"b', "a\tb", "é", "x" * 129, "<script>", "a,b", "\x7f"]
    )
    async def test_a_malformed_one_is_replaced(self, client: httpx.AsyncClient, given: str) -> None:
        answer = await client.get("/health", headers={"X-Request-ID": given.encode()})
        assert re.fullmatch("[0-9a-f]+-[0-9a-f]+", answer.headers["x-request-id"])

    async def test_each_request_has_its_own(self, client: httpx.AsyncClient) -> None:
        ids = {(await client.get("/health")).headers["x-request-id"] for _ in range(20)}
        assert len(ids) == 20


PATHS = [
    "/health",
    "/docs",
    "/openapi.json",
    "/metrics",
    "/nowhere",
    "/api/v1/experiments",
    "/api/v1/experiments/runs/absent",
    "/api/2.0/mlflow/experiments/get?experiment_id=0",
    "/api/2.0/mlflow/no-such-route",
    "/api/2.0/mlflow-artifacts/artifacts?path=experiments",
    "/static-offline-docs/swagger-ui.css",
]


class TestSecurityHeaders:
    @pytest.mark.parametrize("path", PATHS)
    async def test_every_answer_has_them(self, client: httpx.AsyncClient, path: str) -> None:
        headers = (await client.get(path)).headers
        assert headers.get_list("x-content-type-options") == ["nosniff"]
        assert headers.get_list("referrer-policy") == ["no-referrer"]
        assert "server" not in headers
        (policy,) = headers.get_list("content-security-policy")
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy

    async def test_so_does_an_answer_to_an_error_of_ours(self, serve: Serve) -> None:
        async with serve() as client:
            _break(client)
            answer = await client.get("/version", headers={"X-Request-ID": "of-the-failure"})
        assert answer.status_code == 500
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-request-id"] == "of-the-failure"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "deliberate" not in answer.text

    async def test_the_page_of_the_api_allows_its_own_scripts_alone(
        self, client: httpx.AsyncClient
    ) -> None:
        answer = await client.get("/docs")
        policy = dict(
            part.strip().split(" ", 1)
            for part in answer.headers["content-security-policy"].split(";")
        )
        scripts = re.findall(r"<script(?: [^>]*)?>(.*?)</script>", answer.text, re.DOTALL)
        assert scripts
        assert not any(scripts)  # none stands in the page
        assert policy["script-src"] == "'self'"
        sources = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
        assert sources
        assert not [one for one in sources if one.startswith(("/", "http", "data:"))]

    @pytest.mark.parametrize(
        ("name", "content_type"),
        [
            ("page.html", "text/html"),
            ("drawing.svg", "image/svg+xml"),
            ("page.xhtml", "application/xhtml+xml"),
            ("script.js", "text/javascript"),
        ],
    )
    async def test_artifacts_are_attachments_in_a_sandbox(
        self, client: httpx.AsyncClient, name: str, content_type: str
    ) -> None:
        created = await client.post("/api/v1/experiments/runs", json={"experiment_id": "0"})
        run_id = created.json()["id"]
        await client.post(
            f"/api/v1/experiments/runs/{run_id}/log-artifact",
            files={"file": (name, b"<script>alert(1)</script>", content_type)},
        )
        stored = f"experiments/0/runs/{run_id}/artifacts/{name}"
        for path in (
            f"/api/v1/experiments/runs/{run_id}/artifacts/{name}",
            f"/api/2.0/mlflow-artifacts/artifacts/{stored}",
        ):
            answer = await client.get(path)
            assert answer.content == b"<script>alert(1)</script>"
            assert answer.headers["content-disposition"].startswith("attachment;")
            assert answer.headers["x-content-type-options"] == "nosniff"
            (policy,) = answer.headers.get_list("content-security-policy")
            assert policy.startswith("sandbox; default-src 'none'")


class TestCors:
    ORIGIN = "https://workbench.example.org"

    async def test_off_unless_set(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/api/v1/experiments", headers={"Origin": self.ORIGIN})
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        preflight = await _preflight(client, self.ORIGIN)
        assert "access-control-allow-origin" not in preflight.headers

    async def test_for_the_origins_that_are_set(self, serve: Serve) -> None:
        async with serve(cors_origins=f"{self.ORIGIN}, https://other.example.org") as client:
            preflight = await _preflight(client, self.ORIGIN)
            assert preflight.status_code == 200
            assert preflight.headers["access-control-allow-origin"] == self.ORIGIN
            allowed = preflight.headers["access-control-allow-headers"].lower()
            assert {"authorization", "x-tenant-id"} <= set(allowed.split(", "))
            answer = await client.get("/api/v1/experiments", headers={"Origin": self.ORIGIN})
            assert answer.headers["access-control-allow-origin"] == self.ORIGIN
            assert "access-control-allow-credentials" not in answer.headers
            assert "X-Request-ID" in answer.headers["access-control-expose-headers"]

    async def test_for_no_others(self, serve: Serve) -> None:
        async with serve(cors_origins=self.ORIGIN) as client:
            for origin in ("https://evil.example.org", f"{self.ORIGIN}.evil.org", "null"):
                assert (await _preflight(client, origin)).status_code == 400
                answer = await client.get("/api/v1/experiments", headers={"Origin": origin})
                assert "access-control-allow-origin" not in answer.headers

    @pytest.mark.parametrize(
        "origins",
        [
            "*",
            "https://*.example.org",
            "https://Example.org",
            "example.org",
            "https://example.org/",
            "https://example.org/page",
            "https://user@example.org/?q",
            "file:///tmp",
            "null",
            "https://a.example.org,",
            "https://",
        ],
    )
    def test_what_is_no_origin_is_refused_at_the_start(self, origins: str) -> None:
        with pytest.raises(ValidationError, match="cors_origins"):
            Settings(_env_file=None, cors_origins=origins)


async def _preflight(client: httpx.AsyncClient, origin: str) -> httpx.Response:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = "authorization,content-type,x-tenant-id"
    return await client.options("/api/v1/experiments", headers=asked)


def _break(client: AppClient) -> None:
    """Make GET /version fail, as no route does by itself."""

    async def fail() -> None:
        raise RuntimeError("deliberate")

    client.app.router.routes.insert(0, APIRoute("/version", fail))
