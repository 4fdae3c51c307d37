"""MLflow's logged models over HTTP, with the shapes, rules and wording of MLflow 3.17's server."""

import asyncio
import re

import httpx
import pytest
from fastapi import FastAPI

from tests.integration.mlflow_api.model_calls import (
    API,
    MODELS,
    NOWHERE,
    create,
    create_id,
    create_run,
    get,
    invalid,
    log_metric,
    not_found,
    refused,
)
from tests.support.waiting import next_millisecond


class TestCreate:
    async def test_shape(self, client: httpx.AsyncClient) -> None:
        model = await create(
            client,
            name="n",
            model_type="agent",
            source_run_id="a" * 32,
            params=[{"key": "b", "value": ""}, {"key": "a", "value": "1"}],
            tags=[{"key": "t", "value": "v"}],
        )
        info = model["info"]
        assert re.fullmatch(r"m-[0-9a-f]{32}", info["model_id"])
        assert info.pop("creation_timestamp_ms") == info.pop("last_updated_timestamp_ms") > 0
        assert model == {
            "info": {
                "model_id": info["model_id"],
                "experiment_id": "0",
                "name": "n",
                "artifact_uri": "mlflow-artifacts:/experiments/0/models/"
                f"{info['model_id']}/artifacts",
                "status": "LOGGED_MODEL_PENDING",
                "model_type": "agent",
                "source_run_id": "a" * 32,
                "tags": [{"key": "t", "value": "v"}],
            },
            "data": {"params": [{"key": "a", "value": "1"}, {"key": "b", "value": ""}]},
        }

    async def test_empty_parts_are_left_out(self, client: httpx.AsyncClient) -> None:
        model = await create(client)
        assert model["data"] == {}
        assert "tags" not in model["info"]
        assert model["info"]["model_type"] == model["info"]["source_run_id"] == ""

    @pytest.mark.parametrize("fields", [{}, {"name": ""}])
    async def test_random_name(self, client: httpx.AsyncClient, fields: dict[str, str]) -> None:
        assert re.fullmatch(r"[a-z]+-[a-z]+-\d+", (await create(client, **fields))["info"]["name"])

    async def test_names_may_repeat(self, client: httpx.AsyncClient) -> None:
        assert await create_id(client, name="twin") != await create_id(client, name="twin")

    async def test_ids_are_ordered_by_time(self, client: httpx.AsyncClient) -> None:
        first = await create_id(client)
        next_millisecond()
        assert first < await create_id(client)

    async def test_under_an_artifact_location(self, client: httpx.AsyncClient) -> None:
        answer = await client.post(
            f"{API}/experiments/create", json={"name": "s3", "artifact_location": "s3://bucket/x/"}
        )
        model = await create(client, experiment_id=answer.json()["experiment_id"])
        info = model["info"]
        assert info["artifact_uri"] == f"s3://bucket/x/models/{info['model_id']}/artifacts"

    async def test_repeated_key(self, client: httpx.AsyncClient) -> None:
        """Of a repeated tag the last value counts; a repeated param is refused."""
        twice = [{"key": "k", "value": "1"}, {"key": "k", "value": "2"}]
        assert (await create(client, tags=twice))["info"]["tags"] == twice[1:]
        answer = await client.post(MODELS, json={"experiment_id": "0", "params": twice})
        invalid(answer, "Duplicate parameter keys have been submitted: ['k'].")

    async def test_keys_are_free_text(self, client: httpx.AsyncClient) -> None:
        pairs = [
            {"key": key, "value": "x"} for key in sorted(["../up", "a[0]?", "ключ", "🙂" * 255])
        ]
        model = await create(client, params=pairs, tags=pairs)
        shown = sorted(model["data"]["params"], key=lambda pair: pair["key"])
        assert shown == pairs

    async def test_many_params(self, client: httpx.AsyncClient) -> None:
        params = [{"key": f"k{n:05}", "value": str(n)} for n in range(1_000)]
        assert (await create(client, params=params))["data"]["params"] == params

    @pytest.mark.parametrize("field", ["params", "tags"])
    async def test_too_many(self, client: httpx.AsyncClient, field: str) -> None:
        pairs = [{"key": f"k{n:05}", "value": str(n)} for n in range(1_001)]
        answer = await client.post(MODELS, json={"experiment_id": "0", field: pairs})
        invalid(answer, f"A request may have at most 1000 {field}, got 1001")

    async def test_first_write_of_a_tenant(self, app: FastAPI) -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            headers = {"X-Tenant-ID": f"new-{asyncio.get_running_loop().time()}".replace(".", "-")}
            answer = await client.post(MODELS, json={"experiment_id": "0"}, headers=headers)
        assert answer.status_code == 200

    @pytest.mark.parametrize("experiment_id", ["1", "-1", "9" * 30])
    async def test_absent_experiment(self, client: httpx.AsyncClient, experiment_id: str) -> None:
        answer = await client.post(MODELS, json={"experiment_id": experiment_id})
        message = f"No Experiment with id={experiment_id} exists"
        refused(answer, 404, "RESOURCE_DOES_NOT_EXIST", message)

    async def test_deleted_experiment(self, client: httpx.AsyncClient) -> None:
        made = (await client.post(f"{API}/experiments/create", json={"name": "gone"})).json()
        await client.post(f"{API}/experiments/delete", json=made)
        answer = await client.post(MODELS, json=made)
        invalid(answer, f"The experiment {made['experiment_id']} must be in the 'active' state")

    async def test_without_an_experiment(self, client: httpx.AsyncClient) -> None:
        for body in ({}, {"experiment_id": ""}, {"experiment_id": None}):
            answer = await client.post(MODELS, json=body)
            invalid(answer, "required parameter 'experiment_id'")

    @pytest.mark.parametrize("experiment_id", ["x", "1.0", "\x00"])
    async def test_experiment_that_is_no_number(
        self, client: httpx.AsyncClient, experiment_id: str
    ) -> None:
        answer = await client.post(MODELS, json={"experiment_id": experiment_id})
        invalid(answer, "Experiment ID must be a valid integer.")

    @pytest.mark.parametrize("name", ["a/b", "a:b", "a.b", "a%b", 'a"b', "a'b"])
    async def test_invalid_name(self, client: httpx.AsyncClient, name: str) -> None:
        answer = await client.post(MODELS, json={"experiment_id": "0", "name": name})
        invalid(
            answer,
            f"Invalid model name ({name!r}) provided. Model name must be a non-empty string and"
            " cannot contain the following characters: ('/', ':', '.', '%', '\"', \"'\")",
        )

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("name", "x" * 501),
            ("model_type", "x" * 501),
            ("source_run_id", "x" * 33),
            ("name", "a\x00b"),
            ("model_type", "\x00"),
            ("source_run_id", "\x00"),
            ("name", 7),
            ("params", [{"key": "k" * 256, "value": ""}]),
            ("params", [{"key": "k", "value": "v" * 65_536}]),
            ("params", [{"key": "", "value": "v"}]),
            ("params", [{"value": "v"}]),
            ("params", [{"key": "k\x00", "value": ""}]),
            ("params", [{"key": "k", "value": "\x00"}]),
            ("params", "k=v"),
            ("tags", [{"key": "k" * 256, "value": ""}]),
            ("tags", [{"key": "k", "value": "v" * 65_536}]),
            ("tags", [{"key": "", "value": "v"}]),
            ("tags", [{"key": "k\x00", "value": ""}]),
            ("tags", [{"key": "k", "value": "\x00"}]),
        ],
    )
    async def test_invalid_value(
        self, client: httpx.AsyncClient, field: str, value: object
    ) -> None:
        answer = await client.post(MODELS, json={"experiment_id": "0", field: value})
        invalid(answer)
        assert (await client.post(f"{MODELS}/search", json={"experiment_ids": ["0"]})).json() == {}

    async def test_half_a_surrogate_pair(self, client: httpx.AsyncClient) -> None:
        body = rb'{"experiment_id": "0", "tags": [{"key": "k", "value": "\ud800"}]}'
        invalid(await client.post(MODELS, content=body))


class TestGet:
    async def test_as_created(self, client: httpx.AsyncClient) -> None:
        model = await create(client, name="n", tags=[{"key": "t", "value": "v"}])
        answer = await client.get(f"{MODELS}/{model['info']['model_id']}")
        assert answer.json() == {"model": model}

    @pytest.mark.parametrize("model_id", [NOWHERE, "nope", "m-", "M-" + "0" * 32, "m-" + "A" * 32])
    async def test_absent(self, client: httpx.AsyncClient, model_id: str) -> None:
        not_found(await client.get(f"{MODELS}/{model_id}"), model_id)

    async def test_nul(self, client: httpx.AsyncClient) -> None:
        not_found(await client.get(f"{MODELS}/m-%00"), "m-\x00")

    async def test_metrics(self, client: httpx.AsyncClient) -> None:
        """All points, by key and then by time."""
        model_id, run_id = await create_id(client), await create_run(client)
        await log_metric(client, run_id, model_id, key="b", value=1, timestamp=2, step=9)
        await log_metric(
            client, run_id, model_id, key="a", value=0.5, timestamp=3, step=1,
            dataset_name="d", dataset_digest="x",
        )  # fmt: skip
        await log_metric(client, run_id, model_id, key="a", value=0.25, timestamp=1)
        of_model = {"model_id": model_id, "run_id": run_id}
        on_dataset = {"dataset_name": "d", "dataset_digest": "x"}
        assert (await get(client, model_id))["data"]["metrics"] == [
            {"key": "a", "value": 0.25, "timestamp": 1, "step": 0, **of_model},
            {"key": "a", "value": 0.5, "timestamp": 3, "step": 1, **of_model, **on_dataset},
            {"key": "b", "value": 1.0, "timestamp": 2, "step": 9, **of_model},
        ]

    async def test_metrics_of_several_runs(self, client: httpx.AsyncClient) -> None:
        model_id = await create_id(client)
        runs = sorted([await create_run(client), await create_run(client)])
        for run_id in runs:
            await log_metric(client, run_id, model_id, key="a", value=1, timestamp=1)
        metrics = (await get(client, model_id))["data"]["metrics"]
        assert [metric["run_id"] for metric in metrics] == runs

    @pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
    async def test_metrics_that_json_has_no_number_for(
        self, client: httpx.AsyncClient, value: str
    ) -> None:
        model_id, run_id = await create_id(client), await create_run(client)
        await log_metric(client, run_id, model_id, key="a", value=value, timestamp=1)
        assert (await get(client, model_id))["data"]["metrics"][0]["value"] == value


class TestFinalize:
    @pytest.mark.parametrize(
        ("given", "status"),
        [
            ("LOGGED_MODEL_PENDING", "LOGGED_MODEL_PENDING"),
            ("LOGGED_MODEL_READY", "LOGGED_MODEL_READY"),
            ("LOGGED_MODEL_UPLOAD_FAILED", "LOGGED_MODEL_UPLOAD_FAILED"),
            (1, "LOGGED_MODEL_PENDING"),
            (2, "LOGGED_MODEL_READY"),
            (3, "LOGGED_MODEL_UPLOAD_FAILED"),
        ],
    )
    async def test_status(self, client: httpx.AsyncClient, given: str | int, status: str) -> None:
        before = await create(client, tags=[{"key": "t", "value": "v"}])
        model_id = before["info"]["model_id"]
        next_millisecond()
        answer = await client.patch(
            f"{MODELS}/{model_id}", json={"model_id": model_id, "status": given}
        )
        after = answer.json()["model"]
        assert after == await get(client, model_id)
        updated = after["info"].pop("last_updated_timestamp_ms")
        assert updated > before["info"].pop("last_updated_timestamp_ms")
        assert after["info"].pop("status") == status
        del before["info"]["status"]
        assert after == before

    @pytest.mark.parametrize("status", [0, 4, -1, "READY", "", None, 1.5])
    async def test_invalid_status(self, client: httpx.AsyncClient, status: object) -> None:
        model_id = await create_id(client)
        invalid(await client.patch(f"{MODELS}/{model_id}", json={"status": status}), "status")
        assert (await get(client, model_id))["info"]["status"] == "LOGGED_MODEL_PENDING"

    async def test_without_a_status(self, client: httpx.AsyncClient) -> None:
        answer = await client.patch(f"{MODELS}/{await create_id(client)}", json={})
        invalid(answer, "Missing value for required parameter 'status'")

    async def test_the_path_names_the_model(self, client: httpx.AsyncClient) -> None:
        mine, named = await create_id(client), await create_id(client)
        body = {"model_id": named, "status": "LOGGED_MODEL_READY"}
        answer = await client.patch(f"{MODELS}/{mine}", json=body)
        assert answer.json()["model"]["info"]["model_id"] == mine
        assert (await get(client, named))["info"]["status"] == "LOGGED_MODEL_PENDING"


class TestDelete:
    async def test_hides(self, client: httpx.AsyncClient) -> None:
        model_id = await create_id(client)
        next_millisecond()
        answer = await client.request("DELETE", f"{MODELS}/{model_id}", json={"model_id": model_id})
        assert (answer.status_code, answer.json()) == (200, {})
        not_found(await client.get(f"{MODELS}/{model_id}"), model_id)
        found = await client.post(f"{MODELS}/search", json={"experiment_ids": ["0"]})
        assert found.json() == {}
        info = (await get(client, model_id))["info"]
        assert info["last_updated_timestamp_ms"] > info["creation_timestamp_ms"]

    async def test_allow_deleted(self, client: httpx.AsyncClient) -> None:
        model_id = await create_id(client)
        await client.delete(f"{MODELS}/{model_id}")
        for spelling, status in (("true", 200), ("True", 200), ("false", 404), ("1", 404)):
            answer = await client.get(f"{MODELS}/{model_id}?allow_deleted={spelling}")
            assert answer.status_code == status

    async def test_deleted_models_can_be_changed(self, client: httpx.AsyncClient) -> None:
        """As in MLflow's store."""
        model_id = await create_id(client)
        pair = [{"key": "k", "value": "v"}]
        for answer in (
            await client.delete(f"{MODELS}/{model_id}"),
            await client.delete(f"{MODELS}/{model_id}"),
            await client.patch(f"{MODELS}/{model_id}", json={"status": 2}),
            await client.patch(f"{MODELS}/{model_id}/tags", json={"tags": pair}),
            await client.delete(f"{MODELS}/{model_id}/tags/k"),
            await client.post(f"{MODELS}/{model_id}/params", json={"params": pair}),
        ):
            assert answer.status_code == 200
        not_found(await client.get(f"{MODELS}/{model_id}"), model_id)

    async def test_takes_no_metrics(self, client: httpx.AsyncClient) -> None:
        model_id, run_id = await create_id(client), await create_run(client)
        await client.delete(f"{MODELS}/{model_id}")
        point = {"run_id": run_id, "model_id": model_id, "key": "a", "value": 1, "timestamp": 1}
        not_found(await client.post(f"{API}/runs/log-metric", json=point), model_id)
