"""Doubled slashes in the prefix of an API, which clients make of a base URL that ends in a slash,
are one slash to everything that decides by the path; in the path of an artifact they stay."""

import os
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.kernel.tenant import Tenant
from tests.conftest import AppClient, client_of
from tests.integration.mlflow_api.tracking_calls import ok
from tests.security.raw import answer_to, request, status_of

API = "/api/2.0/mlflow"
EXAMPLES = int(os.environ.get("TRACKING_FUZZ_EXAMPLES", "150"))

PATHS = [
    *(f"{API}/experiments/get?experiment_id=0", f"{API}/experiments/search", f"{API}/nowhere"),
    *("/ajax-api/3.0/mlflow/server-info", f"{API}-artifacts/artifacts", "/api/2.0/nowhere"),
    *("/api/v1/experiments", "/api/v1/version", "/health", "/version", "/docs", "/nowhere"),
]


@pytest_asyncio.fixture
async def root(app: FastAPI) -> AsyncIterator[AppClient]:
    async with client_of(app, None) as client:
        yield client


@st.composite
def doubled(draw: st.DrawFn) -> tuple[str, str]:
    """A path of the tenant, and the same with more slashes up to the first word of the route."""
    path = draw(st.sampled_from(PATHS))
    segments = path.split("/")[1:]
    in_prefix = 3 if path.startswith(("/api/2.0/", "/ajax-api/")) else 2
    more = "".join(
        "/" * (draw(st.integers(1, 3)) if number <= min(in_prefix, len(segments) - 1) else 1)
        + segment
        for number, segment in enumerate(segments)
    )
    return path, more


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize="TRACKING_FUZZ_EXAMPLES" not in os.environ,
)
@given(doubled(), st.integers(1, 3))
async def test_are_answered_as_one(
    root: AppClient, tenant: Tenant, paths: tuple[str, str], before_the_tenant: int
) -> None:
    one, more = paths
    own = f"/t/{tenant.slug}"
    expected = await root.get(f"http://test{own}{one}")
    answer = await root.get(f"http://test{'/' * before_the_tenant}{own[1:]}{more}")
    assert answer.status_code == expected.status_code, more
    assert answer.headers["content-type"] == expected.headers["content-type"]
    if "version" in expected.text or answer.status_code == 200:
        assert answer.content == expected.content


class TestMlflowsMessages:
    @pytest.mark.parametrize("path", [f"{API}/runs//create", f"/{API}//runs///create/"])
    async def test_anywhere(self, client: httpx.AsyncClient, path: str) -> None:
        """Their paths are words, and nothing of a user's."""
        answer = await client.post(f"{client.base_url}{path[1:]}", json={"experiment_id": "0"})
        assert ok(answer)["run"]["info"]["experiment_id"] == "0"

    async def test_with_a_body_are_not_redirected(self, client: httpx.AsyncClient) -> None:
        for method, path in (("GET", "experiments/get?experiment_id=0"), ("POST", "runs/create")):
            answer = await client.request(method, f"//{API}//{path}", json={"experiment_id": "0"})
            assert answer.status_code == 200


class TestArtifacts:
    @pytest.mark.parametrize("prefix", ["/", "//", "///"])
    async def test_their_paths_are_as_they_are(
        self, client: httpx.AsyncClient, prefix: str
    ) -> None:
        proxy = f"{client.base_url}{prefix[1:]}api/2.0//mlflow-artifacts"
        for method, path in (
            ("GET", "artifacts//a"),
            ("PUT", "artifacts/a//b"),
            ("GET", "artifacts///etc/passwd"),
            ("GET", "presigned//a"),
        ):
            answer = await client.request(method, f"{proxy}/{path}")
            assert answer.status_code == 400, path
            assert "path" in answer.json()["message"].lower()
        run = ok(await client.post(f"{API}/runs/create", json={"experiment_id": "0"}))
        run_id = run["run"]["info"]["run_id"]
        answer = await client.get(
            f"{client.base_url}{prefix[1:]}api//v1//experiments/runs/{run_id}/artifacts//a"
        )
        assert answer.status_code == 422


class TestWhoAsksForWhat:
    async def test_the_tenant(
        self, root: AppClient, client: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        created = await client.post(f"{API}/experiments/create", json={"name": "mine"})
        own = {"experiment_id": ok(created)["experiment_id"]}
        for path in (f"//t/{tenant.slug}/{API}", f"///t/{tenant.slug}//{API}"):
            answer = await root.get(f"http://test{path}/experiments/get", params=own)
            assert ok(answer)["experiment"]["name"] == "mine"

    async def test_no_tenant_is_skipped(
        self, root: AppClient, tenant: Tenant, other_tenant: Tenant
    ) -> None:
        """An empty name is no name, and a second tenant is no tenant but a path."""
        for path in (
            f"/t//{tenant.slug}{API}/experiments/search",
            f"//t//{API}/experiments/search",
        ):
            answer = await root.get(f"http://test{path}")
            assert answer.status_code == 404
            assert "Invalid tenant" in answer.text
        both = f"//t/{tenant.slug}//t/{other_tenant.slug}/{API}/experiments/search"
        assert (await root.get(f"http://test{both}")).status_code == 404
        headers = {"X-Tenant-ID": other_tenant.slug}
        answer = await root.get(
            f"http://test//t/{tenant.slug}//{API}/experiments/search", headers=headers
        )
        assert answer.status_code == 400
        assert "different tenants" in answer.text

    @pytest.mark.parametrize(
        "path", [f"/{API}/experiments/search", "//api/v1/experiments", "//docs"]
    )
    async def test_the_host(self, root: AppClient, path: str) -> None:
        """Any host may ask for the probes, and for what is served as a probe."""
        foreign = {"host": "evil.example"}
        assert (await root.get("http://test//health", headers=foreign)).status_code == 200
        for one in (path, f"//health/{path}", f"/health/..{path}"):
            answer = await root.get(f"http://test{one}", headers=foreign)
            assert answer.status_code in (400, 422)
            assert "is not a name of this server" in answer.text

    @pytest.mark.parametrize("path", [f"/{API}/runs/create", "//api//v1/experiments"])
    async def test_the_page(self, root: AppClient, path: str) -> None:
        answer = await root.post(
            f"http://test{path}", json={}, headers={"Origin": "https://evil.example"}
        )
        assert answer.status_code == 403


def test_over_the_wire(server_url: str, tenant: Tenant) -> None:
    """Escaped or not: the server decodes once, before it looks."""
    for path in (
        f"//t/{tenant.slug}//{API}/experiments/search",
        f"/%2Ft/{tenant.slug}/%2Fapi/2.0/mlflow/experiments/search",
    ):
        assert status_of(answer_to(server_url, request("GET", path))) == 200
    many = "/" * 50_000
    assert status_of(answer_to(server_url, request("GET", f"{many}health"))) == 200
    assert status_of(answer_to(server_url, request("GET", f"{many}api{many[:9000]}x"))) == 404
