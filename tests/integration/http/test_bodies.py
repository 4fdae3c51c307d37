"""Limits on the size and the time of JSON bodies, in both APIs."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.api import request_body
from app.services import Services

MLFLOW, WORKBENCH = "/api/2.0/mlflow", "/api/v1/experiments"
JSON = {"Content-Type": "application/json"}

# Routes of both APIs whose limit is a megabyte, with a body for each.
ROUTES = [
    f"{MLFLOW}/experiments/create",
    f"{MLFLOW}/runs/search",
    f"{MLFLOW}/runs/create",
    f"{MLFLOW}/registered-models/create",
    WORKBENCH,
    f"{WORKBENCH}/runs",
    f"{WORKBENCH}/runs/compare",
]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("declared", [True, False])
async def test_larger_than_a_megabyte(
    client: httpx.AsyncClient, route: str, declared: bool
) -> None:
    body = json.dumps({"name": "x" * request_body.MAX_BODY_BYTES}).encode()

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    answer = await client.post(route, content=body if declared else chunks(), headers=JSON)
    assert answer.status_code == 413, answer.text


async def test_a_megabyte_is_taken(client: httpx.AsyncClient) -> None:
    body = json.dumps({"name": "whole", "x": "x" * 1_000_000})
    answer = await client.post(f"{MLFLOW}/experiments/create", content=body, headers=JSON)
    assert answer.status_code == 200, answer.text


# How many of them fill most of a megabyte in UTF-8: escaped they have two to six times the bytes.
ESCAPED = [("中", 300_000), ("🙂", 225_000), ("é", 450_000), ("\x01", 150_000)]


@pytest.mark.parametrize(("character", "count"), ESCAPED)
@pytest.mark.parametrize("in_workbench", [False, True])
async def test_a_batch_of_escapes(
    client: httpx.AsyncClient, character: str, count: int, in_workbench: bool
) -> None:
    """A batch is measured by what it says, and not by how it is escaped."""
    run = (await client.post(f"{WORKBENCH}/runs", json={"experiment_id": "0"})).json()["id"]
    params = {f"p{n}": character * (count // 10) for n in range(10)}
    if in_workbench:
        route, message = f"{WORKBENCH}/runs/{run}/log-batch", {"params": params}
    else:
        pairs = [{"key": key, "value": value} for key, value in params.items()]
        route, message = f"{MLFLOW}/runs/log-batch", {"run_id": run, "params": pairs}
    body = json.dumps(message)
    assert len(body) > 890_000
    assert (await client.post(route, content=body, headers=JSON)).status_code == 200
    shown = (await client.get(f"{WORKBENCH}/runs/{run}")).json()
    assert shown["params"] == params


@pytest.mark.parametrize(
    "characters", ["x" * 1_000_000, "中" * 334_000, "🙂" * 250_000, "\\u0078" * 1_000_000]
)
@pytest.mark.parametrize("in_workbench", [False, True])
async def test_a_batch_that_is_too_large_without_escapes(
    client: httpx.AsyncClient, characters: str, in_workbench: bool
) -> None:
    run = (await client.post(f"{WORKBENCH}/runs", json={"experiment_id": "0"})).json()["id"]
    text = characters if characters[0] == "\\" else json.dumps(characters)[1:-1]
    if in_workbench:
        route, body = f"{WORKBENCH}/runs/{run}/log-batch", f'{{"tags": {{"t": "{text}"}}}}'
    else:
        route = f"{MLFLOW}/runs/log-batch"
        body = f'{{"run_id": "{run}", "tags": [{{"key": "t", "value": "{text}"}}]}}'
    answer = await client.post(route, content=body, headers=JSON)
    assert answer.status_code == (413 if in_workbench else 400), answer.text
    assert "1000000 bytes" in answer.text


@pytest.mark.parametrize("route", ROUTES)
async def test_escapes_in_other_bodies(client: httpx.AsyncClient, route: str) -> None:
    """They are decoded and judged by their fields; without escapes they are too large."""
    for character, count, statuses in (
        ("中", 300_000, (200, 400, 422)),
        ("中", 350_000, (413,)),
        ("中", 4_000_000, (413,)),
    ):
        body = json.dumps({"name": character * count})
        answer = await client.post(route, content=body, headers=JSON)
        assert answer.status_code in statuses, answer.text


async def test_a_long_tag_of_a_model(client: httpx.AsyncClient) -> None:
    """A tag as long as it may be, of characters with twelve bytes in an escape."""
    model = f"{MLFLOW}/registered-models"
    await client.post(f"{model}/create", json={"name": "m"})
    body = json.dumps({"name": "m", "key": "k", "value": "🙂" * 100_000})
    answer = await client.post(f"{model}/set-tag", content=body, headers=JSON)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param({f"f{n}": n for n in range(30_000)}, id="unknown fields"),
        pytest.param({"tags": [{}] * 100_000}, id="tags"),
        pytest.param({"tags": {f"t{n}": "" for n in range(30_000)}}, id="tags by name"),
        pytest.param({"experiment_ids": ["1"] * 100_000}, id="ids"),
        pytest.param({"run_ids": [["x"]] * 100_000}, id="wrong types"),
        pytest.param({"order_by": [None] * 100_000, "max_results": "x"}, id="a late error"),
    ],
)
async def test_more_values_than_anybody_sends(
    client: httpx.AsyncClient, route: str, body: dict[str, Any]
) -> None:
    answer = await client.post(route, json={"name": "many", "experiment_id": "0"} | body)
    assert answer.status_code in (200, 400, 413, 422), answer.text
    assert len(answer.content) < 10_000  # nothing is repeated for each of them


async def test_as_many_values_as_are_of_use(client: httpx.AsyncClient) -> None:
    run = (await client.post(f"{WORKBENCH}/runs", json={"experiment_id": "0"})).json()["id"]
    points = [{"key": f"m{n}", "value": n, "step": n, "timestamp": n} for n in range(1000)]
    answer = await client.post(f"{WORKBENCH}/runs/{run}/log-batch", json={"metrics": points})
    assert answer.status_code == 200, answer.text


async def test_experiment_ids_of_a_search(client: httpx.AsyncClient) -> None:
    ids = [str(10**17 + n) for n in range(10_001)]
    search = f"{MLFLOW}/runs/search"
    assert (await client.post(search, json={"experiment_ids": ids[1:]})).status_code == 200
    answer = await client.post(search, json={"experiment_ids": ids})
    assert answer.status_code == 400
    assert "'experiment_ids' may have at most 10000 items" in answer.json()["message"]


@pytest.mark.parametrize("count", [1_000, 1_001])
@pytest.mark.parametrize(
    ("route", "fields"),
    [
        ("experiments/create", {"name": "tagged"}),
        ("runs/create", {"experiment_id": "0"}),
        ("registered-models/create", {"name": "tagged"}),
        ("logged-models", {"experiment_id": "0"}),
    ],
)
async def test_tags_of_one_request(
    client: httpx.AsyncClient, route: str, fields: dict[str, str], count: int
) -> None:
    tags = [{"key": f"t{n}", "value": "v"} for n in range(count)]
    answer = await client.post(f"{MLFLOW}/{route}", json=fields | {"tags": tags})
    if count == 1_000:
        assert answer.status_code == 200, answer.text
    else:
        assert answer.status_code == 400
        assert answer.json()["message"] == "A request may have at most 1000 tags, got 1001"


async def test_errors_are_told_up_to_twenty(client: httpx.AsyncClient) -> None:
    answer = await client.post(WORKBENCH, json={f"f{n}": n for n in range(500)})
    assert answer.status_code == 422
    problem = answer.json()
    assert len(problem["errors"]) == 20
    assert problem["detail"].startswith("501 fields are invalid, the first of them: ")


async def test_the_profile_of_a_dataset_may_be_large(client: httpx.AsyncClient) -> None:
    created = await client.post(f"{MLFLOW}/runs/create", json={"experiment_id": "0"})
    dataset = {
        "name": "d",
        "digest": "1",
        "source_type": "s",
        "source": "s",
        "profile": "p" * 2_000_000,
    }
    message = {
        "run_id": created.json()["run"]["info"]["run_id"],
        "datasets": [{"dataset": dataset}],
    }
    log = f"{MLFLOW}/runs/log-inputs"
    assert (await client.post(log, json=message)).status_code == 200
    answer = await client.post(log, json=message | {"datasets": [{}] * 300_000})
    assert answer.status_code in (400, 413), answer.text


@pytest.mark.parametrize(
    "route", [f"{MLFLOW}/experiments/create", WORKBENCH, f"{WORKBENCH}/runs/compare"]
)
async def test_a_body_that_trickles_is_cut_off(
    client: httpx.AsyncClient, route: str, monkeypatch: pytest.MonkeyPatch, services: Services
) -> None:
    monkeypatch.setattr(request_body, "ARRIVAL_SECONDS", 0.2)
    monkeypatch.setattr(request_body, "ARRIVAL_BYTES_PER_SECOND", 1 << 30)

    async def trickle() -> AsyncIterator[bytes]:
        yield b'{"name": "' + b"x" * 200_000
        while True:
            await asyncio.sleep(0.02)
            yield b"x"

    answer = await client.post(route, content=trickle(), headers=JSON)
    assert answer.status_code == 408, answer.text
    assert services.memory.held == 0
