"""What is logged to runs, one item or a batch at a time, as MLflow 3.17's server has it."""

import json
from typing import Any, ClassVar

import httpx
import pytest
from model_calls import API, invalid, refused
from tracking_calls import (
    NO_RUN,
    NOTHING,
    absent_run,
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
    tags_of,
)

JSON = {"content-type": "application/json"}
POINT = {"key": "m", "value": 1.5, "timestamp": 5, "step": 1}
ONE_ITEM = [
    ("runs/log-metric", POINT),
    ("runs/log-parameter", {"key": "k", "value": "v"}),
    ("runs/set-tag", {"key": "k", "value": "v"}),
]
BAD_KEYS = [
    ("k" * 251, "' exceeds the maximum length of 250 characters"),
    ("a!b", "'key' supplied: Names may only contain alphanumerics"),
    ("a\x00", "'key'"),
    ("a//b", "This name would resolve to 'a/b'"),
    ("../b", "Names may be treated as files"),
    ("/b", "Names may be treated as files"),
    (".", "Names may be treated as files"),
    ("...", "Names may be treated as files"),
]


class TestOneItem:
    """What log-metric, log-parameter and set-tag have in common."""

    @pytest.mark.parametrize(("route", "item"), ONE_ITEM)
    async def test_missing_run(
        self, client: httpx.AsyncClient, route: str, item: dict[str, Any]
    ) -> None:
        for fields in ({}, {"run_id": ""}, {"run_id": None}):
            missing(await post(client, route, **item, **fields), "run_id")

    @pytest.mark.parametrize(("route", "item"), ONE_ITEM)
    async def test_older_name_of_the_run(
        self, client: httpx.AsyncClient, route: str, item: dict[str, Any]
    ) -> None:
        run_id = await new_run(client)
        done(await post(client, route, run_uuid=run_id, **item))
        assert await data_of(client, run_id) != NOTHING

    @pytest.mark.parametrize(("route", "item"), ONE_ITEM)
    async def test_missing_key(
        self, client: httpx.AsyncClient, route: str, item: dict[str, Any]
    ) -> None:
        run_id = await new_run(client)
        for key in ("", None):
            missing(await post(client, route, run_id=run_id, **item | {"key": key}), "key")
        assert await data_of(client, run_id) == NOTHING

    @pytest.mark.parametrize(("route", "item"), ONE_ITEM)
    @pytest.mark.parametrize(("key", "words"), BAD_KEYS)
    async def test_bad_key(
        self, client: httpx.AsyncClient, route: str, item: dict[str, Any], key: str, words: str
    ) -> None:
        run_id = await new_run(client)
        answer = await post(client, route, run_id=run_id, **item | {"key": key})
        invalid(answer, words)
        assert await data_of(client, run_id) == NOTHING

    @pytest.mark.parametrize(("route", "item"), ONE_ITEM)
    @pytest.mark.parametrize("key", ["a/b/c", "a b", "a:b", "a-b.c_d", "é", "k" * 250])
    async def test_good_key(
        self, client: httpx.AsyncClient, route: str, item: dict[str, Any], key: str
    ) -> None:
        run_id = await new_run(client)
        done(await post(client, route, run_id=run_id, **item | {"key": key}))
        logged = await data_of(client, run_id)
        assert [key] == [one for kind in logged.values() for one in kind]

    @pytest.mark.parametrize(("route", "item"), ONE_ITEM)
    async def test_deleted_run(
        self, client: httpx.AsyncClient, route: str, item: dict[str, Any]
    ) -> None:
        run_id = await deleted_run(client)
        run_is_deleted(await post(client, route, run_id=run_id, **item), run_id)
        assert await data_of(client, run_id) == NOTHING

    @pytest.mark.parametrize(("route", "item"), ONE_ITEM)
    async def test_unknown_run(
        self, client: httpx.AsyncClient, route: str, item: dict[str, Any]
    ) -> None:
        absent_run(await post(client, route, run_id=NO_RUN, **item), NO_RUN)


class TestLogMetric:
    async def log(self, client: httpx.AsyncClient, run_id: str, **fields: Any) -> httpx.Response:
        return await post(client, "runs/log-metric", run_id=run_id, **POINT | fields)

    async def latest(self, client: httpx.AsyncClient, run_id: str) -> list[dict[str, Any]]:
        return (await get_run(client, run_id))["data"].get("metrics", [])

    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            (2, 2.0),
            ("2.5", 2.5),
            ("NaN", "NaN"),
            ("Infinity", "Infinity"),
            ("-Infinity", "-Infinity"),
            (1e308, 1e308),
            (5e-324, 5e-324),
        ],
    )
    async def test_values(self, client: httpx.AsyncClient, given: Any, kept: Any) -> None:
        run_id = await new_run(client)
        done(await self.log(client, run_id, value=given))
        assert await self.latest(client, run_id) == [POINT | {"value": kept}]
        assert await history(client, run_id, "m") == [POINT | {"value": kept}]

    @pytest.mark.parametrize(
        ("fields", "kept"),
        [
            ({"timestamp": "7", "step": "-3"}, (7, -3)),
            ({"timestamp": 7.0, "step": 2.0}, (7, 2)),
            ({"timestamp": 0, "step": None}, (0, 0)),
            ({"timestamp": 2**63 - 1, "step": 2**63 - 1}, (2**63 - 1, 2**63 - 1)),
            ({"step": -(2**63)}, (5, -(2**63))),
        ],
    )
    async def test_integers(
        self, client: httpx.AsyncClient, fields: dict[str, Any], kept: tuple[int, int]
    ) -> None:
        run_id = await new_run(client)
        done(await self.log(client, run_id, **fields))
        (point,) = await self.latest(client, run_id)
        assert (point["timestamp"], point["step"]) == kept

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("value", "abc"),
            ("value", ""),
            ("value", True),
            ("value", []),
            ("value", {}),
            ("value", 10**400),
            ("timestamp", "x"),
            ("timestamp", -1),
            ("timestamp", 1.5),
            ("timestamp", 2**63),
            ("timestamp", "9" * 30),
            ("step", "x"),
            ("step", 1.5),
            ("step", 2**63),
            ("step", -(2**63) - 1),
            ("key", 5),
        ],
    )
    async def test_refused(self, client: httpx.AsyncClient, field: str, value: Any) -> None:
        run_id = await new_run(client)
        invalid(await self.log(client, run_id, **{field: value}), f"'{field}'")
        assert await data_of(client, run_id) == NOTHING

    @pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
    async def test_bare_non_finite(self, client: httpx.AsyncClient, value: str) -> None:
        """MLflow takes these for 0 without a word."""
        run_id = await new_run(client)
        body = f'{{"run_id": "{run_id}", "key": "m", "timestamp": 1, "value": {value}}}'
        answer = await client.post(f"{API}/runs/log-metric", content=body, headers=JSON)
        invalid(answer, "'value'")
        assert await data_of(client, run_id) == NOTHING

    @pytest.mark.parametrize("field", ["value", "timestamp"])
    async def test_missing(self, client: httpx.AsyncClient, field: str) -> None:
        run_id = await new_run(client)
        missing(await self.log(client, run_id, **{field: None}), field)

    async def test_latest_on_ties(self, client: httpx.AsyncClient) -> None:
        """The greatest step wins, then the greatest timestamp, then the greatest value."""
        run_id = await new_run(client)
        for step, timestamp, value, expected in (
            (1, 5, 1.0, 1.0),
            (0, 9, 9.0, 1.0),
            (1, 4, 9.0, 1.0),
            (1, 6, 0.5, 0.5),
            (1, 6, 0.25, 0.5),
            (1, 6, 0.75, 0.75),
            (2, 0, -1.0, -1.0),
        ):
            done(await self.log(client, run_id, step=step, timestamp=timestamp, value=value))
            assert [one["value"] for one in await self.latest(client, run_id)] == [expected]

    async def test_repeated_identical_point_is_one(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        for _ in range(3):
            done(await self.log(client, run_id))
        assert await history(client, run_id, "m") == [POINT]

    async def test_dataset_without_a_digest(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        invalid(
            await self.log(client, run_id, dataset_name="d"),
            "Both dataset_name and dataset_digest must be provided if one is provided",
        )
        assert await data_of(client, run_id) == NOTHING


class TestLogParameter:
    async def log(self, client: httpx.AsyncClient, run_id: str, value: Any) -> httpx.Response:
        return await post(client, "runs/log-parameter", run_id=run_id, key="p", value=value)

    @pytest.mark.parametrize("value", ["1", "", " ", "x" * 6000, "日本語", "é" * 6000])
    async def test_same_value_twice(self, client: httpx.AsyncClient, value: str) -> None:
        run_id = await new_run(client)
        for _ in range(2):
            done(await self.log(client, run_id, value))
        assert (await data_of(client, run_id))["params"] == {"p": value}

    async def test_null_is_empty(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        done(await self.log(client, run_id, None))
        assert (await data_of(client, run_id))["params"] == {"p": ""}

    async def test_another_value(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        done(await self.log(client, run_id, "1"))
        refused(
            await self.log(client, run_id, "2"),
            400,
            "INVALID_PARAMETER_VALUE",
            "Changing param values is not allowed. Param with key='p' was already logged with"
            f" value='1' for run ID='{run_id}'. Attempted logging new value '2'.",
        )
        assert (await data_of(client, run_id))["params"] == {"p": "1"}

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            ("x" * 6001, "'value' exceeds the maximum length of 6000 characters"),
            ("a\x00b", "'value'"),
            (5, "Invalid value 5 for parameter 'value'"),
        ],
    )
    async def test_refused(self, client: httpx.AsyncClient, value: Any, words: str) -> None:
        """MLflow cuts a value that is too long; here nothing is lost silently."""
        run_id = await new_run(client)
        invalid(await self.log(client, run_id, value), words)
        assert await data_of(client, run_id) == NOTHING


class TestSetTag:
    async def set(
        self, client: httpx.AsyncClient, run_id: str, key: str, value: Any
    ) -> httpx.Response:
        return await post(client, "runs/set-tag", run_id=run_id, key=key, value=value)

    async def test_overwrites(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        for value in ("1", "2", "", "v" * 8000):
            done(await self.set(client, run_id, "t", value))
            assert (await data_of(client, run_id))["tags"] == {"t": value}

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            ("v" * 8001, "'value' exceeds the maximum length of 8000 characters"),
            ("\x00", "'value'"),
            (5, "Invalid value 5 for parameter 'value'"),
        ],
    )
    async def test_refused(self, client: httpx.AsyncClient, value: Any, words: str) -> None:
        run_id = await new_run(client)
        invalid(await self.set(client, run_id, "t", value), words)
        assert await data_of(client, run_id) == NOTHING

    async def test_name_of_the_run(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client, run_name="before")
        done(await self.set(client, run_id, "mlflow.runName", "after"))
        run = await get_run(client, run_id)
        assert run["info"]["run_name"] == "after"
        assert tags_of(run["data"])["mlflow.runName"] == "after"

    async def test_tenants_tag(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        before = await get_run(client, run_id)
        invalid(await self.set(client, run_id, "matih.tenant_id", "other"), "cannot be set")
        tags = pairs(**{"matih.tenant_id": "other"})
        invalid(await post(client, "runs/log-batch", run_id=run_id, tags=tags), "cannot be set")
        assert await get_run(client, run_id) == before


class TestDeleteTag:
    async def delete(self, client: httpx.AsyncClient, run_id: str, key: str) -> httpx.Response:
        return await post(client, "runs/delete-tag", run_id=run_id, key=key)

    async def test_deletes_one(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client, tags=pairs(a="1", b="2"))
        done(await self.delete(client, run_id, "a"))
        assert (await data_of(client, run_id))["tags"] == {"b": "2"}

    async def test_absent(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        message = f"No tag with name: k in run with id {run_id}"
        refused(await self.delete(client, run_id, "k"), 404, "RESOURCE_DOES_NOT_EXIST", message)

    @pytest.mark.parametrize("key", ["matih.tenant_id", "mlflow.runName"])
    async def test_derived(self, client: httpx.AsyncClient, key: str) -> None:
        run_id = await new_run(client)
        before = await get_run(client, run_id)
        invalid(await self.delete(client, run_id, key), key)
        assert await get_run(client, run_id) == before

    async def test_deleted_run(self, client: httpx.AsyncClient) -> None:
        run_id = await deleted_run(client)
        run_is_deleted(await self.delete(client, run_id, "k"), run_id)

    async def test_missing(self, client: httpx.AsyncClient) -> None:
        missing(await self.delete(client, "", "k"), "run_id")
        missing(await self.delete(client, NO_RUN, ""), "key")


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
            ({"metrics": [POINT, POINT | {"key": "a!b"}]}, "'metrics[1].key'"),
            ({"metrics": [None]}, "'metrics[0]'"),
            ({"metrics": [5]}, "'metrics[0]'"),
            ({"metrics": {}}, "'metrics'"),
            ({"metrics": [POINT | {"dataset_digest": "d"}]}, "dataset_name"),
            ({"params": pairs(p="x" * 6001)}, "'params[0].value'"),
            ({"params": pairs(p="1", **{"k" * 251: "1"})}, "maximum length of 250 characters"),
            ({"params": pairs(p="1", **{"a!b": "1"})}, "'params[1].key'"),
            ({"params": [{"value": "1"}]}, "'params[0].key'"),
            ({"params": pairs(p="1") + pairs(p="1")}, "Duplicate parameter keys"),
            ({"params": pairs(p="1") + pairs(p="2")}, "Duplicate parameter keys"),
            ({"params": pairs(logged="2")}, "Changing param values is not allowed."),
            ({"tags": pairs(t="v" * 8001)}, "'tags[0].value'"),
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


class TestLogModel:
    MODEL: ClassVar[dict[str, Any]] = {
        "artifact_path": "model",
        "flavors": {"sklearn": {"code": None, "config": {"a": 1}}},
        "utc_time_created": "2024-01-01",
        "run_id": "r",
        "model_uuid": "u",
        "signature": {"left": "out"},
    }

    async def log(self, client: httpx.AsyncClient, run_id: str, model_json: Any) -> httpx.Response:
        return await post(client, "runs/log-model", run_id=run_id, model_json=model_json)

    async def test_appends_to_the_tag(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        for _ in range(2):
            done(await self.log(client, run_id, json.dumps(self.MODEL)))
        logged = json.loads((await data_of(client, run_id))["tags"]["mlflow.log-model.history"])
        kept = self.MODEL | {"flavors": {"sklearn": {"code": None}}}
        del kept["signature"]
        assert logged == [kept, kept]

    @pytest.mark.parametrize(
        ("model_json", "words"),
        [
            (None, "Missing value for required parameter 'model_json'"),
            ("", "Missing value for required parameter 'model_json'"),
            ("x", "Malformed model info."),
            ("[" * 5000, "Malformed model info."),
            ("[]", "Model json is missing mandatory fields"),
            ("{}", "Model json is missing mandatory fields"),
            (json.dumps(MODEL | {"flavors": 5}), "flavors"),
            (json.dumps(MODEL | {"model_uuid": "x" * 9000}), "8000"),
            (5, "Invalid value 5 for parameter 'model_json'"),
        ],
    )
    async def test_refused(self, client: httpx.AsyncClient, model_json: Any, words: str) -> None:
        run_id = await new_run(client)
        invalid(await self.log(client, run_id, model_json), words)
        assert await data_of(client, run_id) == NOTHING

    async def test_tag_that_holds_something_else(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client, tags=pairs(**{"mlflow.log-model.history": "5"}))
        answer = await self.log(client, run_id, json.dumps(self.MODEL))
        invalid(answer, "'mlflow.log-model.history'")


async def _chunks(body: str) -> Any:
    """A body whose length is not declared."""
    for start in range(0, len(body), 100_000):
        yield body[start : start + 100_000].encode()
