"""Every route declares the role that it needs, and enforces it."""

from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from app.api.workbench.dependencies import AuthorizedRoute
from app.kernel.principal import Role
from app.kernel.tenant import Tenant
from tests.contract.isolation.routes import MLFLOW, PROXY, Served, served
from tests.integration.conftest import NewKey, bearer

# What anybody may call: nothing of any tenant is told there. The page that describes the API is
# no secret either, and is where a user learns how to send a key.
OPEN = {
    *("GET /", "GET /health", "GET /ready", "GET /version", "GET /docs", "GET /docs.js"),
    *("GET /openapi.json", "HEAD /openapi.json", "GET /static-offline-docs/{path}"),
    *("GET /api/v1/version", "GET /run-page.js", "GET /run-page.css"),
}
# Not by keys: a token of its own (tests/integration/observability).
OTHERWISE_GUARDED = {"GET /metrics"}

# By the signature in their URL, which tests/contract/isolation changes in every way.
SIGNED = {f"{method} {PROXY}/signed/{{path}}" for method in ("GET", "HEAD", "PUT")}

# Reads that are no GETs.
READING_POSTS = {
    "POST /graphql",
    f"POST {MLFLOW}/experiments/search",
    f"POST {MLFLOW}/experiments/search-datasets",
    f"POST {MLFLOW}/runs/search",
    f"POST {MLFLOW}/logged-models/search",
    f"POST {MLFLOW}/registered-models/get-latest-versions",
    f"POST {MLFLOW}/artifacts/presigned-download-url",
    *(f"POST {MLFLOW}/{path}/search" for path in ("traces", "datasets", "issues")),
    *(f"POST {MLFLOW}/{path}" for path in ("traces/metrics", "ui-telemetry")),
    "POST /api/v1/experiments/runs/compare",
}
# Workspaces are tenants: an operator makes and deletes them, an admin describes its own.
OPERATORS = {f"POST {MLFLOW}/workspaces", f"DELETE {MLFLOW}/workspaces/{{workspace_name}}"}
ADMINS = {f"PATCH {MLFLOW}/workspaces/{{workspace_name}}", "GET /api/v1/audit"}

ADMIN_API = "/api/v1/admin/"
OPERATORS_OF_THE_ADMIN_API = {
    "GET /api/v1/admin/audit",
    "GET /api/v1/admin/tenants",
    "POST /api/v1/admin/tenants",
    "PATCH /api/v1/admin/tenants/{tenant}",
    "DELETE /api/v1/admin/tenants/{tenant}",
}


def expected_role(route: Served) -> Role:
    """What the route must need, told from its name alone."""
    name = route.name
    if name in OPERATORS | OPERATORS_OF_THE_ADMIN_API:
        return Role.OPERATOR
    if name in ADMINS or route.path.startswith(ADMIN_API):
        return Role.ADMIN
    reads = route.method in ("GET", "HEAD") or name in READING_POSTS
    return Role.READ if reads else Role.WRITE


@pytest.fixture(scope="module")
def routes(keys_app: FastAPI) -> dict[str, Served]:
    """The routes that need a key."""
    found = served(keys_app)
    assert set(found) >= OPEN | READING_POSTS | OPERATORS | ADMINS | OPERATORS_OF_THE_ADMIN_API
    left = OPEN | OTHERWISE_GUARDED | SIGNED
    assert set(found) >= left
    return {name: one for name, one in found.items() if name not in left and not one.refuses}


def url(route: Served, tenant: Tenant) -> str:
    path = route.path.replace("{tenant}", tenant.slug).replace("{workspace_name}", tenant.slug)
    for name in ("experiment_id", "run_id", "model_id", "tag_key", "key_id", "key", "path"):
        path = path.replace(f"{{{name}}}", "0" * 12)
    assert "{" not in path
    return path


async def call(client: httpx.AsyncClient, route: Served, tenant: Tenant) -> httpx.Response:
    """With a body that says nothing, so that nothing is changed where the call gets through."""
    arguments: dict[str, Any] = {}
    if route.method in ("POST", "PATCH", "PUT", "DELETE"):
        arguments = {"content": b"[]", "headers": {"content-type": "application/json"}}
    return await client.request(route.method, url(route, tenant), **arguments)


@pytest_asyncio.fixture
async def clients(keys_app: FastAPI, new_key: NewKey, operator: httpx.AsyncClient) -> Any:
    made = {role: bearer(keys_app, await new_key(role.word)) for role in Role if role < 4}
    yield made | {Role.OPERATOR: operator}
    for client in made.values():
        await client.aclose()


async def test_without_a_key_nothing(
    anyone: httpx.AsyncClient, routes: dict[str, Served], tenant: Tenant
) -> None:
    for route in routes.values():
        answer = await call(anyone, route, tenant)
        assert answer.status_code == 401, (route.name, answer.text)
        assert "www-authenticate" in answer.headers


async def test_each_role_as_far_as_it_goes(
    clients: dict[Role, httpx.AsyncClient], routes: dict[str, Served], tenant: Tenant
) -> None:
    """A role too low is 403; one high enough gets to what the request holds."""
    for route in routes.values():
        needed = expected_role(route)
        for role in (Role.READ, Role.WRITE, Role.ADMIN):
            answer = await call(clients[role], route, tenant)
            too_low = answer.status_code == 403
            assert answer.status_code != 401, (route.name, role)
            assert too_low == (role < needed), (route.name, role, answer.text)
            if too_low and answer.content:
                assert f"This needs the role '{needed.word}'" in answer.text
        if needed is Role.OPERATOR and route.method != "DELETE":
            answer = await call(clients[Role.OPERATOR], route, tenant)
            assert answer.status_code not in (401, 403), (route.name, answer.text)


async def test_a_key_does_not_stand_in_for_a_signature(
    clients: dict[Role, httpx.AsyncClient],
    anyone: httpx.AsyncClient,
    keys_app: FastAPI,
    tenant: Tenant,
) -> None:
    found = served(keys_app)
    for name in SIGNED:
        for client in (anyone, *clients.values()):
            for prefix in ("", f"/t/{tenant.slug}"):
                path = f"{prefix}{url(found[name], tenant)}"
                answer = await client.request(found[name].method, path)
                assert answer.status_code == 403, (name, answer.text)
                assert found[name].method == "HEAD" or "signature of this URL" in answer.text


async def test_the_table_tells_the_same(routes: dict[str, Served]) -> None:
    """What MLflow's endpoints declare."""
    declared = {
        name: route.endpoint.role for name, route in routes.items() if route.endpoint is not None
    }
    assert declared == {name: expected_role(routes[name]) for name in declared}


def test_openapi_tells_the_same(keys_app: FastAPI, routes: dict[str, Served]) -> None:
    paths = keys_app.openapi()["paths"]
    told = {
        f"{method.upper()} {path}": operation.get("x-required-role")
        for path, item in paths.items()
        for method, operation in item.items()
        if path.startswith("/api/v1") and f"{method.upper()} {path}" not in OPEN
    }
    shown = {name: expected_role(routes[name]).word for name in told}
    assert told == shown


def test_a_route_of_the_workbench_is_guarded(keys_app: FastAPI) -> None:
    found = [
        context.original_route
        for context in iter_route_contexts(keys_app.routes)
        if isinstance(context.original_route, APIRoute)
        and (context.path or "").startswith("/api/v1")
        and f"GET {context.path}" not in OPEN
    ]
    assert len(found) > 30
    assert all(isinstance(route, AuthorizedRoute) for route in found)


def test_a_route_that_declares_no_role_is_an_error() -> None:
    async def careless() -> None: ...

    with pytest.raises(ValueError, match="unpack"):
        APIRouter(route_class=AuthorizedRoute).add_api_route("/careless", careless)


async def test_open_to_anybody(anyone: httpx.AsyncClient, keys_app: FastAPI) -> None:
    for path in ("/health", "/ready", "/version", "/api/v1/version", "/docs", "/openapi.json"):
        assert (await anyone.get(path)).status_code == 200


async def test_what_is_not_served(anyone: httpx.AsyncClient) -> None:
    for path in (f"{MLFLOW}/no-such-thing", f"{PROXY}/no-such-thing", "/api/v1/no-such-thing"):
        assert (await anyone.post(path, json={})).status_code == 404
