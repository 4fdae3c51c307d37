"""OPTIONS, and the header Allow: the methods of a path that there is; 404 for others."""

import re

import httpx
import pytest
from fastapi import FastAPI

from tests.conftest import client_of
from tests.contract.isolation.routes import served

API = "/api/2.0/mlflow"


def methods_by_path(app: FastAPI) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for route in served(app).values():
        if not route.refuses:
            found.setdefault(route.path, {"OPTIONS"}).add(route.method)
    for methods in found.values():
        if "GET" in methods:
            methods.add("HEAD")
    return found


def allowed(answer: httpx.Response) -> set[str]:
    return set(answer.headers["allow"].split(", "))


def concrete(path: str) -> str:
    return re.sub(r"{\w+}", "x", path)


async def test_every_path_names_its_methods(app: FastAPI) -> None:
    """Also to a caller without a key: it shows only what the documentation does."""
    by_path = methods_by_path(app)
    # A path may be one of several templates: /experiments/runs is /experiments/{experiment_id}.
    async with client_of(app, None) as client:
        for path, methods in by_path.items():
            answer = await client.options(concrete(path))
            assert (answer.status_code, answer.content) == (204, b""), path
            assert allowed(answer) >= methods, path
            if "{" not in path or path.startswith(f"{API}/"):
                others = {
                    method
                    for other, its in by_path.items()
                    if re.fullmatch(
                        re.sub(r"{path}", ".*", re.sub(r"{(?!path)\w+}", "[^/]+", other)),
                        concrete(path),
                    )
                    for method in its
                }
                assert allowed(answer) == others, path


async def test_another_method_is_told_the_same(app: FastAPI) -> None:
    async with client_of(app, None) as client:
        for path, methods in methods_by_path(app).items():
            for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - methods:
                answer = await client.request(method, concrete(path))
                if answer.status_code == 405:
                    assert allowed(answer) >= methods, (method, path)
                    assert method not in allowed(answer)


@pytest.mark.parametrize("path", ["/nowhere", "/api/v1/nowhere", "/api/v1/experiments/x/y/z"])
async def test_of_no_path(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.options(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path", [f"{API}/nowhere", f"{API}-artifacts/nowhere", "/api/2.0/nowhere", "/v1/traces"]
)
async def test_of_no_path_of_mlflow(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.options(path)
    assert (answer.status_code, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")


async def test_a_browser_is_not_let_in(client: httpx.AsyncClient) -> None:
    """A preflight is answered, and allows nothing to the pages of other sites."""
    answer = await client.options(
        f"{API}/runs/create",
        headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
    )
    assert answer.status_code == 204
    assert not [name for name in answer.headers if name.startswith("access-control-")]
