"""Values of params and tags that MLflow would cut: whole up to a setting, where they are cut."""

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import mlflow
import pytest
import pytest_asyncio

from app.config import Settings
from app.kernel.tenant import Tenant
from app.main import create_app
from tests.conftest import client_of
from tests.integration.mlflow_api.model_calls import invalid
from tests.integration.mlflow_api.tracking_calls import (
    data_of,
    done,
    get_run,
    new_run,
    ok,
    pairs,
    post,
)

MOST = 65_536
LONG = "x" * 50_000


@pytest_asyncio.fixture
async def small(settings: Settings, tenant: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that keeps 8,000 characters."""
    application = create_app(settings.model_copy(update={"max_value_length": 8_000}))
    async with (
        application.router.lifespan_context(application),
        client_of(application, tenant) as it,
    ):
        yield it


async def found(client: httpx.AsyncClient, filter: str = "", **search: Any) -> list[str]:
    answer = await post(client, "runs/search", experiment_ids=["0"], filter=filter, **search)
    return [run["info"]["run_id"] for run in ok(answer).get("runs", [])]


@pytest.mark.parametrize("value", [LONG, "é" * MOST, "🙂" * MOST, "\x01" * MOST])
async def test_kept_whole(client: httpx.AsyncClient, value: str) -> None:
    created = await new_run(client, tags=pairs(t=value))
    run_id = await new_run(client)
    done(await post(client, "runs/log-parameter", run_id=run_id, key="p", value=value))
    done(await post(client, "runs/set-tag", run_id=run_id, key="t", value=value))
    assert (await data_of(client, created))["tags"] == {"t": value}
    assert await data_of(client, run_id) == {
        "metrics": {},
        "params": {"p": value},
        "tags": {"t": value},
    }
    batch = {"params": pairs(q=value), "tags": pairs(u=value)}
    done(await post(client, "runs/log-batch", run_id=run_id, **batch))
    assert (await data_of(client, run_id))["params"] == {"p": value, "q": value}


async def test_cut_where_the_setting_says(
    small: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """As MLflow cuts them: without an error, and with a warning in the log."""
    value = "é" * 8_000 + "x"
    run_id = await new_run(small, run_name=value, tags=pairs(created=value))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):  # the same value again is no other value
            done(await post(small, "runs/log-parameter", run_id=run_id, key="p", value=value))
    assert "the param 'p' has 8001 characters and is cut to 8000" in caplog.text
    done(await post(small, "runs/set-tag", run_id=run_id, key="t", value=value))
    batch = {"params": pairs(q=value), "tags": pairs(u=value)}
    done(await post(small, "runs/log-batch", run_id=run_id, **batch))
    data = await data_of(small, run_id)
    assert data["params"] == {"p": value[:8_000], "q": value[:8_000]}
    assert data["tags"] == dict.fromkeys(("created", "t", "u"), value[:8_000])
    assert (await get_run(small, run_id))["info"]["run_name"] == value[:8_000]


async def test_the_workbench(client: httpx.AsyncClient) -> None:
    body = {"experiment_id": "0", "tags": {"t": LONG}, "params": {"p": LONG}}
    created = (await client.post("/api/v1/experiments/runs", json=body)).json()
    shown = ok(await client.get(f"/api/v1/experiments/runs/{created['id']}"))
    assert shown["params"] == {"p": LONG}
    assert shown["tags"]["t"] == LONG


async def test_a_param_keeps_its_value(client: httpx.AsyncClient) -> None:
    """Also where two values differ behind what a batch reads of them."""
    run_id = await new_run(client)
    for _ in range(2):
        done(await post(client, "runs/log-parameter", run_id=run_id, key="p", value=LONG))
        done(await post(client, "runs/log-batch", run_id=run_id, params=pairs(p=LONG)))
    for other in (LONG + "y", LONG[:-1] + "y", LONG[:-1], "1", LONG[:2_000] + "…"):
        answer = await post(client, "runs/log-parameter", run_id=run_id, key="p", value=other)
        invalid(answer, "Changing param values is not allowed.")
        answer = await post(client, "runs/log-batch", run_id=run_id, params=pairs(p=other))
        invalid(answer, "Changing param values is not allowed.")
        assert len(answer.content) < 10_000  # it shows the beginnings
    assert (await data_of(client, run_id))["params"] == {"p": LONG}


async def test_filters(client: httpx.AsyncClient) -> None:
    one = await new_run(client, tags=pairs(t=LONG + "1"))
    two = await new_run(client, tags=pairs(t=LONG + "2"))
    for run_id, end in ((one, "1"), (two, "2")):
        done(await post(client, "runs/log-parameter", run_id=run_id, key="p", value=LONG + end))
    for key in ("tags.t", "params.p"):
        assert await found(client, f"{key} = '{LONG}1'") == [one]
        assert await found(client, f"{key} = '{LONG}2' AND {key} != 'x'") == [two]
        assert await found(client, f"{key} != '{LONG}1'") == [two]
        assert await found(client, f"{key} = '{LONG}'") == []
        assert await found(client, f"{key} LIKE '%x2'") == [two]
        assert await found(client, f"{key} ILIKE '{LONG.upper()}1'") == [one]
        assert set(await found(client, f"{key} IS NOT NULL")) == {one, two}


async def test_orders_and_pages(client: httpx.AsyncClient) -> None:
    """By the characters that MLflow keeps, and then the newest first; every page has its token."""
    values = ["é" * 5_000 + end for end in "cab"] + ["é" * 8_000 + end for end in "ba"]
    runs = [
        await new_run(client, start_time=number, tags=pairs(t=value))
        for number, value in enumerate(values, 1)
    ]
    order = [runs[1], runs[2], runs[0], runs[4], runs[3]]
    orders = [f"tags.t {direction}" for direction in ("ASC", "DESC")]
    assert await found(client, order_by=orders[:1]) == order
    assert await found(client, order_by=orders[1:]) == [runs[4], runs[3], *order[2::-1]]
    token, seen = "", []
    while token is not None:
        search = {"order_by": orders[:1], "max_results": 1, "page_token": token}
        page = ok(await post(client, "runs/search", experiment_ids=["0"], **search))
        seen += [run["info"]["run_id"] for run in page["runs"]]
        token = page.get("next_page_token")
    assert seen == order


async def test_a_page_ends_where_it_is_large(client: httpx.AsyncClient) -> None:
    """Every run is whole, on one page or another."""
    values = pairs(**{f"p{number}": "x" * MOST for number in range(14)})
    for _ in range(12):
        run_id = await new_run(client)
        done(await post(client, "runs/log-batch", run_id=run_id, params=values))
    token, sizes = "", []
    while token is not None:
        page = ok(await post(client, "runs/search", experiment_ids=["0"], page_token=token))
        assert all(run["data"]["params"] == sorted_pairs(values) for run in page["runs"])
        sizes.append(len(page["runs"]))
        token = page.get("next_page_token")
    assert sum(sizes) == 12
    assert len(sizes) > 1
    assert max(sizes) * 14 * MOST < 9 << 20


def sorted_pairs(values: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(values, key=lambda pair: pair["key"])


async def test_list_of_the_workbench(client: httpx.AsyncClient) -> None:
    """A list that would be too large shows the beginnings of long values; a run is whole."""
    values = {f"p{number}": "é" * 30_000 for number in range(10)} | {"short": "s" * 900}
    for _ in range(20):
        run_id = await new_run(client, tags=pairs(t="v" * 40_000))
        done(await post(client, "runs/log-batch", run_id=run_id, params=pairs(**values)))
    few = ok(await client.get("/api/v1/experiments/runs?limit=2"))["runs"]
    assert all(run["params"] == values for run in few)
    page = ok(await client.get("/api/v1/experiments/runs?limit=20"))
    assert (page["total"], len(page["runs"])) == (20, 20)
    for run in page["runs"]:
        assert run["params"] == {f"p{number}": "é" * 1_000 + "…" for number in range(10)} | {
            "short": "s" * 900
        }
        assert run["tags"]["t"] == "v" * 1_000 + "…"
    assert ok(await client.get(f"/api/v1/experiments/runs/{run_id}"))["params"] == values


def test_with_the_client(tracking_uri: str) -> None:
    """A training script that MLflow's server takes."""
    config = json.dumps({f"key{number}": "value" * 20 for number in range(400)})
    mlflow.set_tracking_uri(tracking_uri)
    with mlflow.start_run(experiment_id="0", tags={"config": config}) as run:
        mlflow.log_param("config", config)
        mlflow.log_params({"a": config, "b": 1})
        mlflow.set_tag("notes", "🙂" * 10_000)
        mlflow.log_param("longer", "x" * 70_000)
    data = mlflow.get_run(run.info.run_id).data
    assert data.params == {
        "config": config,
        "a": config,
        "b": "1",
        "longer": "x" * MOST,
    }
    assert (data.tags["config"], data.tags["notes"]) == (config, "🙂" * 10_000)
