"""Logging to runs, by item and by batch, with the rules of MLflow 3.17's server."""

import json
from typing import Any, ClassVar

import httpx
import pytest

from tests.integration.mlflow_api.model_calls import API, invalid, refused
from tests.integration.mlflow_api.tracking_calls import (
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
    ok,
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
    ("a!b", "' supplied: Names may only contain alphanumerics"),
    ("a\x00", "it holds a NUL character"),
    ("a//b", "This name would resolve to 'a/b'"),
    ("../b", "Names may be treated as files"),
    ("/b", "Names may be treated as files"),
    (".", "Names may be treated as files"),
    ("...", "Names may be treated as files"),
]


class TestOneItem:
    """Rules that log-metric, log-parameter and set-tag share."""

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
        """MLflow silently takes these for 0."""
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

    @pytest.mark.parametrize(
        "value", ["1", "", " ", "日本語", "é" * 6000, "x" * 6001, "🙂" * 65_536]
    )
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
            ("a\x00b", "'value'"),
            (5, "Invalid value 5 for parameter 'value'"),
        ],
    )
    async def test_refused(self, client: httpx.AsyncClient, value: Any, words: str) -> None:
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
        for value in ("1", "2", "", "v" * 8001, "é" * 65_536):
            done(await self.set(client, run_id, "t", value))
            assert (await data_of(client, run_id))["tags"] == {"t": value}

    @pytest.mark.parametrize(
        ("value", "words"),
        [
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
        """It is ignored, also where it comes with other tags."""
        run_id = await new_run(client)
        before = await get_run(client, run_id)
        done(await self.set(client, run_id, "matih.tenant_id", "other"))
        assert await get_run(client, run_id) == before
        tags = pairs(**{"matih.tenant_id": "other", "t": "1"})
        done(await post(client, "runs/log-batch", run_id=run_id, tags=tags))
        tags_before = tags_of(before["data"])
        assert tags_of((await get_run(client, run_id))["data"]) == tags_before | {"t": "1"}


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

    async def test_tenants_tag(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        before = await get_run(client, run_id)
        invalid(await self.delete(client, run_id, "matih.tenant_id"), "cannot be deleted")
        assert await get_run(client, run_id) == before

    @pytest.mark.parametrize(
        ("route", "fields"),
        [
            ("runs/set-tag", {"key": "mlflow.runName", "value": "b"}),
            ("runs/log-batch", {"tags": [{"key": "mlflow.runName", "value": "b"}]}),
            ("runs/update", {"run_name": "b"}),
        ],
    )
    async def test_name_of_the_run(
        self, client: httpx.AsyncClient, route: str, fields: dict[str, Any]
    ) -> None:
        """The name stays, without its tag, until it is set again."""
        run_id = await new_run(client, run_name="a", tags=pairs(t="1"))
        done(await self.delete(client, run_id, "mlflow.runName"))
        run = await get_run(client, run_id)
        assert run["info"]["run_name"] == "a"
        assert "mlflow.runName" not in tags_of(run["data"])
        again = await self.delete(client, run_id, "mlflow.runName")
        assert again.status_code == 404
        ok(await post(client, route, run_id=run_id, **fields))
        run = await get_run(client, run_id)
        assert (run["info"]["run_name"], tags_of(run["data"])["mlflow.runName"]) == ("b", "b")

    async def test_name_of_the_run_in_searches(self, client: httpx.AsyncClient) -> None:
        with_tag = await new_run(client, run_name="a")
        without = await new_run(client, run_name="a")
        done(await self.delete(client, without, "mlflow.runName"))
        for filter, found in (
            ("run_name = 'a'", {with_tag}),  # as in MLflow
            ("tags.mlflow.runName = 'a'", {with_tag}),
            ("tags.mlflow.runName != 'b'", {with_tag}),
            ("tags.mlflow.runName IS NULL", {without}),
            ("tags.mlflow.runName IS NOT NULL", {with_tag}),
        ):
            assert await self.search(client, filter=filter) == found, filter
        order_by = ["tags.mlflow.runName DESC"]
        (first,) = await self.search(client, order_by=order_by, max_results=1)
        assert first == with_tag

    async def search(self, client: httpx.AsyncClient, **fields: Any) -> set[str]:
        answer = ok(await post(client, "runs/search", experiment_ids=["0"], **fields))
        return {run["info"]["run_id"] for run in answer.get("runs", [])}

    async def test_deleted_run(self, client: httpx.AsyncClient) -> None:
        run_id = await deleted_run(client)
        run_is_deleted(await self.delete(client, run_id, "k"), run_id)

    async def test_missing(self, client: httpx.AsyncClient) -> None:
        missing(await self.delete(client, "", "k"), "run_id")
        missing(await self.delete(client, NO_RUN, ""), "key")


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
            (json.dumps(MODEL | {"model_uuid": "x" * 66_000}), "65536"),
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
