"""A GET whose query is empty is read from its body, as MLflow does: go-mlflow, mlflow-export-import
and others send it."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from tests.contract.isolation.artifact_cases import PAGES
from tests.contract.isolation.belongings import belongings, filled_in
from tests.contract.isolation.callers import Caller
from tests.contract.isolation.case import IN_PATH
from tests.contract.isolation.cases import CASES
from tests.contract.isolation.routes import MLFLOW, PROXY, served
from tests.integration.mlflow_api.model_calls import invalid
from tests.integration.mlflow_api.tracking_calls import ok, post

API = MLFLOW
PAGE_FILES = {f"GET {MLFLOW}/{name.removeprefix('GET ')}" for name in PAGES}


@pytest_asyncio.fixture
async def caller(app: FastAPI) -> Caller:
    """Who has what the cases of isolation name."""
    caller = await Caller.bare(app)
    found = (await belongings(caller.client, "own")).ids
    caller.own |= found | {f"own_{kind}": value for kind, value in found.items()}
    return caller


async def with_body(
    client: httpx.AsyncClient, path: str, fields: Any, **more: Any
) -> httpx.Response:
    return await client.request("GET", path, json=fields, **more)


@pytest.mark.parametrize(
    "name",
    # The files of MLflow's page are named by queries alone, in MLflow's server too.
    sorted({name for name in CASES if name.startswith(f"GET {MLFLOW}/")} - PAGE_FILES),
)
async def test_every_get(app: FastAPI, caller: Caller, name: str) -> None:
    """The same fields as a query and as a body, of types or all as text, have the same answer."""
    route = served(app)[name]
    assert route.endpoint is not None
    lists = {
        field
        for field, kind in route.endpoint.message.__annotations__.items()
        if "list" in str(kind)
    }
    for case in CASES[name]:
        fields = filled_in(case.query, caller.own)
        path = route.path
        for part, template in (IN_PATH | case.path).items():
            path = path.replace(f"{{{part}}}", filled_in(template, caller.own))
        message = {
            field: value if isinstance(value, list) or field not in lists else [value]
            for field, value in fields.items()
        }
        expected = await caller.client.get(path, params=fields)
        for body in (message, json.dumps(message)):
            answer = await with_body(caller.client, path, body)
            assert answer.status_code == expected.status_code, (case, answer.text)
            assert answer.text == expected.text


async def test_the_filter_of_a_search_counts(client: httpx.AsyncClient) -> None:
    for name in ("one", "two"):
        ok(await post(client, "experiments/create", name=name))
        ok(await post(client, "registered-models/create", name=name))
    found = await with_body(client, f"{API}/experiments/search", {"filter": "name = 'two'"})
    assert [one["name"] for one in ok(found)["experiments"]] == ["two"]
    found = await with_body(
        client, f"{API}/registered-models/search", {"filter": "name = 'one'", "max_results": "5"}
    )
    assert [one["name"] for one in ok(found)["registered_models"]] == ["one"]


async def test_the_query_goes_before_the_body(client: httpx.AsyncClient) -> None:
    created = ok(await post(client, "experiments/create", name="one"))
    answer = await with_body(
        client, f"{API}/experiments/get", created, params={"experiment_id": "0"}
    )
    assert ok(answer)["experiment"]["experiment_id"] == "0"


async def test_a_listing_of_the_proxy(client: httpx.AsyncClient) -> None:
    run = ok(await post(client, "runs/create", experiment_id="0"))["run"]["info"]
    folder = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    ok(await client.put(f"{PROXY}/artifacts/{folder}/a.txt", content=b"x"))
    for body in ({"path": folder}, json.dumps({"path": folder})):
        found = await with_body(client, f"{PROXY}/artifacts", body)
        assert ok(found) == {"files": [{"path": "a.txt", "is_dir": False, "file_size": 1}]}
    assert ok(await client.get(f"{PROXY}/artifacts")) == {}
    invalid(await with_body(client, f"{PROXY}/artifacts", {"path": "../x"}), "path")


class TestBounds:
    """As of a POST's body."""

    @pytest.mark.parametrize("path", [f"{API}/experiments/search", f"{PROXY}/artifacts"])
    async def test_too_large(self, client: httpx.AsyncClient, path: str) -> None:
        answer = await client.request("GET", path, content=b" " * ((1 << 20) + 1))
        assert answer.status_code == 413
        assert "1048576" in answer.json()["message"]

    @pytest.mark.parametrize("path", [f"{API}/experiments/search", f"{PROXY}/artifacts"])
    @pytest.mark.parametrize("content", ["{", "[]", "1", '"x"', b"\xff", '{"a":' * 5000])
    async def test_malformed(
        self, client: httpx.AsyncClient, path: str, content: bytes | str
    ) -> None:
        invalid(await client.request("GET", path, content=content), "request body")

    async def test_too_many_values(self, client: httpx.AsyncClient) -> None:
        body = {"order_by": ["name"] * 30_000, "max_results": None}
        answer = await with_body(client, f"{API}/experiments/search", body)
        assert answer.status_code in (400, 413)

    async def test_in_pieces(self, client: httpx.AsyncClient) -> None:
        """Without a length, as chunks."""

        async def pieces(size: int) -> AsyncIterator[bytes]:
            yield b'{"experiment_id":'
            yield b" " * size
            yield b'"0"}'

        path = f"{API}/experiments/get"
        assert ok(await client.request("GET", path, content=pieces(100)))["experiment"]
        answer = await client.request("GET", path, content=pieces(1 << 20))
        assert answer.status_code == 413

    @pytest.mark.parametrize("content", [b"", b"{}", b"null"])
    async def test_of_nothing(self, client: httpx.AsyncClient, content: bytes) -> None:
        answer = await client.request("GET", f"{API}/experiments/get", content=content)
        invalid(answer, "Missing value for required parameter 'experiment_id'")
        assert ok(await client.request("GET", f"{API}/server-info", content=content))


class TestDelete:
    """Its body is read; where there is none, its query."""

    async def test_with_a_body_and_a_query(self, client: httpx.AsyncClient) -> None:
        for name in ("one", "two"):
            ok(await post(client, "registered-models/create", name=name))
        path = f"{API}/registered-models/delete"
        for sent in (
            {"json": {"name": "one"}, "params": {"name": "x"}},
            {"params": {"name": "two"}},
        ):
            ok(await client.request("DELETE", path, **sent))
        assert ok(await client.get(f"{API}/registered-models/search")) == {}
