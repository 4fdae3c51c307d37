"""log-batch: all of a batch is written, or nothing."""

import json
from typing import Any, ClassVar

import httpx
import pytest

from tests.integration.mlflow_api.model_calls import API, invalid
from tests.integration.mlflow_api.tracking_calls import (
    NOTHING,
    data_of,
    deleted_run,
    done,
    get_run,
    history,
    missing,
    new_run,
    pairs,
    post,
    run_is_deleted,
)

JSON = {"content-type": "application/json"}
POINT = {"key": "m", "value": 1.5, "timestamp": 5, "step": 1}


class TestLogBatch:
    GOOD: ClassVar[dict[str, Any]] = {
        "metrics": [{"key": "m", "value": 1, "timestamp": 1, "step": 0}],
        "params": pairs(p="1"),
        "tags": pairs(t="1"),
    }

    async def log(self, client: httpx.AsyncClient, run_id: str, **items: Any) -> httpx.Response:
        return await post(client, "runs/log-batch", run_id=run_id, **items)

    async def test_all_kinds(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        done(await self.log(client, run_id, **self.GOOD))
        expected = {"metrics": {"m": 1.0}, "params": {"p": "1"}, "tags": {"t": "1"}}
        assert await data_of(client, run_id) == expected

    @pytest.mark.parametrize(
        "items", [{}, {"metrics": [], "params": [], "tags": []}, {"metrics": None, "tags": None}]
    )
    async def test_empty(self, client: httpx.AsyncClient, items: dict[str, Any]) -> None:
        done(await self.log(client, await new_run(client), **items))

    async def test_missing_run(self, client: httpx.AsyncClient) -> None:
        missing(await post(client, "runs/log-batch", **self.GOOD), "run_id")

    async def test_empty_to_a_deleted_run(self, client: httpx.AsyncClient) -> None:
        run_id = await deleted_run(client)
        run_is_deleted(await self.log(client, run_id), run_id)

    async def test_as_large_as_can_be(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        metrics = [{"key": f"m{n}", "value": n, "timestamp": n} for n in range(800)]
        many = {f"k{n}": str(n) for n in range(100)}
        done(
            await self.log(
                client, run_id, metrics=metrics, params=pairs(**many), tags=pairs(**many)
            )
        )
        logged = await data_of(client, run_id)
        assert {kind: len(items) for kind, items in logged.items()} == {
            "metrics": 800,
            "params": 100,
            "tags": 100,
        }

    @pytest.mark.parametrize(
        ("metrics", "params", "tags", "words"),
        [
            (1001, 0, 0, "at most 1000 metrics. Got 1001 metrics."),
            (0, 101, 0, "at most 100 params. Got 101 params."),
            (0, 0, 101, "at most 100 tags. Got 101 tags."),
            (
                999,
                1,
                1,
                "at most 1000 metrics, params, and tags. Got 1001 metrics, params, and tags.",
            ),
        ],
    )
    async def test_too_many(
        self, client: httpx.AsyncClient, metrics: int, params: int, tags: int, words: str
    ) -> None:
        run_id = await new_run(client)
        answer = await self.log(
            client,
            run_id,
            metrics=[{"key": f"k{n}", "value": n, "timestamp": n} for n in range(metrics)],
            params=pairs(**{f"k{n}": "1" for n in range(params)}),
            tags=pairs(**{f"k{n}": "1" for n in range(tags)}),
        )
        invalid(answer, f"A batch logging request can contain {words}")
        assert await data_of(client, run_id) == NOTHING

    async def test_more_than_a_megabyte(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        body = json.dumps({"run_id": run_id, **self.GOOD, "padding": "x" * 1_000_000})
        words = f"must be at most 1000000 bytes, got a request of size {len(body)}."
        for content in (body, _chunks(body)):
            answer = await client.post(f"{API}/runs/log-batch", content=content, headers=JSON)
            invalid(answer, "Batched logging API requests", words.split(",")[0])
        assert await data_of(client, run_id) == NOTHING

    @pytest.mark.parametrize(
        ("bad", "words"),
        [
            ({"metrics": [{"key": "m", "value": 1}]}, "'metrics[0].timestamp'"),
            ({"metrics": [{"key": "m", "timestamp": 1}]}, "'metrics[0].value'"),
            ({"metrics": [{"value": 1, "timestamp": 1}]}, "'metrics[0].key'"),
            ({"metrics": [POINT, POINT | {"value": "x"}]}, "'metrics[1].value'"),
            ({"metrics": [POINT | {"timestamp": -1}]}, "'metrics[0].timestamp'"),
            ({"metrics": [POINT | {"step": 2**63}]}, "'metrics[0].step'"),
            ({"metrics": [POINT, POINT | {"key": "a!b"}]}, "'metrics[1].name'"),
            ({"metrics": [None]}, "'metrics[0]'"),
            ({"metrics": [5]}, "'metrics[0]'"),
            ({"metrics": {}}, "'metrics'"),
            ({"metrics": [POINT | {"dataset_digest": "d"}]}, "dataset_name"),
            ({"params": pairs(p="1", **{"k" * 251: "1"})}, "maximum length of 250 characters"),
            ({"params": pairs(p="1", **{"a!b": "1"})}, "'params[1].key'"),
            ({"params": [{"value": "1"}]}, "'params[0].key'"),
            ({"params": pairs(p="1") + pairs(p="1")}, "Duplicate parameter keys"),
            ({"params": pairs(p="1") + pairs(p="2")}, "Duplicate parameter keys"),
            ({"params": pairs(logged="2")}, "Changing param values is not allowed."),
            ({"tags": [{"key": "", "value": "v"}]}, "'tags[0].key'"),
            ({"tags": pairs(t="\x00")}, "'tags[0].value'"),
        ],
    )
    async def test_all_or_nothing(
        self, client: httpx.AsyncClient, bad: dict[str, Any], words: str
    ) -> None:
        run_id = await new_run(client)
        done(await post(client, "runs/log-parameter", run_id=run_id, key="logged", value="1"))
        invalid(await self.log(client, run_id, **self.GOOD | bad), words)
        assert await data_of(client, run_id) == NOTHING | {"params": {"logged": "1"}}

    async def test_param_changed_by_a_batch(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        done(await self.log(client, run_id, params=pairs(p="1", q="2", r="3")))
        invalid(
            await self.log(client, run_id, params=pairs(p="x", q="2", r="z")),
            "Changing param values is not allowed. Params were already logged="
            "'[{'key': 'p', 'old_value': '1', 'new_value': 'x'},"
            " {'key': 'r', 'old_value': '3', 'new_value': 'z'}]'"
            f" for run ID='{run_id}'.",
        )

    async def test_retry_changes_nothing(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        for _ in range(2):
            done(await self.log(client, run_id, **self.GOOD))
        assert len(await history(client, run_id, "m")) == 1

    async def test_repeated_tag(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        done(await self.log(client, run_id, tags=pairs(t="1") + pairs(t="2")))
        assert (await data_of(client, run_id))["tags"] == {"t": "2"}

    async def test_latest_within_a_batch(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        metrics = [
            {"key": "m", "value": value, "timestamp": timestamp, "step": step}
            for step, timestamp, value in ((2, 1, 1.0), (2, 2, 7.0), (2, 2, "NaN"), (1, 9, 9.0))
        ]
        done(await self.log(client, run_id, metrics=metrics))
        assert (await data_of(client, run_id))["metrics"] == {"m": 7.0}

    async def test_name_of_the_run(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        done(await self.log(client, run_id, tags=pairs(**{"mlflow.runName": "renamed"})))
        assert (await get_run(client, run_id))["info"]["run_name"] == "renamed"


async def _chunks(body: str) -> Any:
    """A body whose length is not declared."""
    for start in range(0, len(body), 100_000):
        yield body[start : start + 100_000].encode()
