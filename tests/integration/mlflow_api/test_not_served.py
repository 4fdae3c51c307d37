"""Routes of MLflow's server that this one lacks: 404 in MLflow's shape."""

import re
from collections.abc import Iterator

import httpx
import pytest
from mlflow.server.gateway_api import gateway_router
from mlflow.server.handlers import get_endpoints
from mlflow.server.job_api import job_api_router
from mlflow.server.mcp_server_api import mcp_server_router
from mlflow.server.otel_api import otel_router

# Of the routes under /api/{version}/ and /ajax-api/{version}/.
NOT_SERVED = re.compile(
    r"mlflow/(traces|unified-traces|get-online-trace-details|issues|label-schemas|review-queues"
    r"|datasets|scorers?|genai|gateway|prompt-optimization|jobs|demo|webhooks)(/.*)?"
)
# Of those, what finds nothing (test_not_kept.py).
NOT_KEPT = re.compile(
    r"(GET|POST) mlflow/(traces/(search|metrics)|(datasets|issues)/search)"
    r"|GET mlflow/(traces|scorers/list|gateway/secrets/config)"
)

Route = tuple[str, str]


def api_routes() -> Iterator[Route]:
    """Method and path of all API routes of the installed MLflow."""
    for path, _, methods in get_endpoints():
        for method in methods:
            yield method, re.sub(r"<[^>]+>", "x", path)


def other_routes() -> Iterator[Route]:
    """Its other routes: for OpenTelemetry, for its gateway, and for its own pages."""
    for prefix, router in [
        ("", otel_router),
        ("", gateway_router),
        ("", job_api_router),
        ("/api/3.0/mlflow/mcp-servers", mcp_server_router),
    ]:
        for route in router.routes:
            for method in route.methods:
                yield method, prefix + re.sub(r"{[^}]+}", "x", route.path)
    yield from [
        ("GET", "/graphql"),
        ("PUT", "/ajax-api/3.0/mlflow/assistant/config"),
        ("POST", "/ajax-api/3.0/mlflow/assistant/message"),
        ("POST", "/ajax-api/2.0/mlflow/gateway-proxy"),
        ("GET", "/ajax-api/2.0/mlflow/get-trace-artifact"),
    ]


def below_version(path: str) -> str:
    return re.sub(r"^/(ajax-)?api/[23]\.0/?", "", path)


async def answer(client: httpx.AsyncClient, method: str, path: str) -> httpx.Response:
    body = {"json": {}} if method in ("POST", "PUT", "PATCH") else {}
    return await client.request(method, path, **body)


def says_not_served(response: httpx.Response, method: str) -> bool:
    # 405 where the path is served for another method.
    if (
        response.status_code not in (404, 405)
        or response.headers["content-type"] != "application/json"
    ):
        return False
    error = response.json()
    asked_for = f"{method} {response.request.url.path}"
    return error["error_code"] == "ENDPOINT_NOT_FOUND" and error["message"].startswith(
        f"{asked_for} is not served here. "
    )


async def test_of_the_api_these_are_not_served(client: httpx.AsyncClient) -> None:
    """Every other route is served: new routes of MLflow fail this test."""
    refused = set()
    for method, path in api_routes():
        response = await answer(client, method, path)
        assert response.status_code < 500, (method, path, response.text)
        if says_not_served(response, method):
            refused.add((method, path))
    assert refused == {
        (method, path)
        for method, path in api_routes()
        if (
            NOT_SERVED.fullmatch(below_version(path))
            and not NOT_KEPT.fullmatch(f"{method} {below_version(path)}")
        )
        or (method, path) == ("GET", "/graphql")
    }
    assert len(refused) > 200


@pytest.mark.parametrize(("method", "path"), sorted(set(other_routes())))
async def test_beside_the_api(client: httpx.AsyncClient, method: str, path: str) -> None:
    response = await answer(client, method, path)
    assert says_not_served(response, method), (response.status_code, response.text)


@pytest.mark.parametrize(
    "path",
    [
        *("/api/2.0", "/api/2.0/", "/api/3.0/nowhere", "/api/2.0nowhere", "/ajax-api/2.0/x/y"),
        *("/api/1.0/mlflow/runs/get", "/ajax-api/4.0/mlflow/traces/metrics", "/ajax-api/x"),
        *("/ajax-api", "/ajax-api/", "/v1/traces/", "/graphql/", "/gateway", "/gateway/"),
        "/api/2.0/mlflow%0A/x",
    ],
)
async def test_unknown_paths_of_mlflow(client: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        response = await answer(client, method, path)
        assert says_not_served(response, method), (response.status_code, response.text)


@pytest.mark.parametrize(
    "path", ["/api", "/api/v2/x", "/api/x", "/gatewayx", "/v1/traces2", "/v1", "/ajax-apix"]
)
async def test_unknown_paths_of_nobody(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


async def test_of_no_tenant(app: object, client: httpx.AsyncClient) -> None:
    """The answer is the same without a tenant, and for a tenant that does not exist."""
    for prefix in ("http://test", "http://test/t/never-heard-of"):
        response = await client.post(f"{prefix}/v1/traces", json={})
        assert says_not_served(response, "POST")
        response = await client.post(f"{prefix}/api/3.0/mlflow/traces", json={})
        assert says_not_served(response, "POST")


async def test_spans_in_protobuf(client: httpx.AsyncClient) -> None:
    """As OpenTelemetry's exporters send them."""
    response = await client.post(
        "/v1/traces", content=b"\x0a\x00", headers={"content-type": "application/x-protobuf"}
    )
    assert says_not_served(response, "POST")
    # Which is what MLflow's client looks for, to send no more of them.
    assert "REST OTLP span logging is not supported" in response.json()["message"]
