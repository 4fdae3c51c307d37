"""Inputs and outputs of runs, with the rules of MLflow 3.17's server."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select

from app.db.database import Database
from app.db.tables.runs import Run
from app.kernel.tenant import Tenant
from tests.integration.mlflow_api.model_calls import (
    API,
    LOG,
    NOWHERE,
    create_id,
    create_run,
    dataset,
    invalid,
    log,
    not_found,
    one,
    refused,
)

OUTPUTS = f"{API}/runs/outputs"
NO_RUN = "0" * 32


async def log_models(client: httpx.AsyncClient, run_id: str, *model_ids: str) -> None:
    models = [{"model_id": model_id} for model_id in model_ids]
    answer = await client.post(LOG, json={"run_id": run_id, "models": models})
    assert (answer.status_code, answer.json()) == (200, {})


async def get_run(client: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    answer = await client.get(f"{API}/runs/get", params={"run_id": run_id})
    assert answer.status_code == 200, answer.text
    return answer.json()["run"]


async def inputs_of(client: httpx.AsyncClient, run_id: str) -> list[dict[str, Any]]:
    return (await get_run(client, run_id))["inputs"].get("dataset_inputs", [])


class TestLogInputs:
    async def test_none(self, client: httpx.AsyncClient) -> None:
        run_id = await create_run(client)
        await log(client, run_id)
        run = await get_run(client, run_id)
        assert (run["inputs"], run["outputs"]) == ({}, {})

    async def test_shape(self, client: httpx.AsyncClient) -> None:
        run_id = await create_run(client)
        whole = one(dataset(schema='{"a": 1}', profile="p"), **{"mlflow.data.context": "train"})
        bare = one(dataset(name="bare"))
        await log(client, run_id, whole, bare)
        assert await inputs_of(client, run_id) == [bare, whole]

    async def test_empty_texts(self, client: httpx.AsyncClient) -> None:
        """As in MLflow, an empty schema or profile is left out."""
        run_id = await create_run(client)
        empty = {"name": "", "digest": "", "source_type": "", "source": ""}
        await log(client, run_id, one(empty | {"schema": "", "profile": ""}))
        assert await inputs_of(client, run_id) == [one(empty)]

    async def test_retry(self, client: httpx.AsyncClient) -> None:
        run_id = await create_run(client)
        for _ in range(2):
            await log(client, run_id, one(dataset(), a="1"))
        assert await inputs_of(client, run_id) == [one(dataset(), a="1")]

    async def test_first_of_a_name_and_digest(self, client: httpx.AsyncClient) -> None:
        run_id = await create_run(client)
        await log(client, run_id, one(dataset(), a="1"), one(dataset(source="other"), a="2", b="2"))
        await log(client, run_id, one(dataset(schema="later"), a="3", c="3"))
        assert await inputs_of(client, run_id) == [one(dataset(), a="1")]

    async def test_last_of_a_repeated_tag(self, client: httpx.AsyncClient) -> None:
        run_id = await create_run(client)
        tags = [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]
        await log(client, run_id, {"dataset": dataset(), "tags": tags})
        assert await inputs_of(client, run_id) == [one(dataset(), a="2")]

    async def test_shared_by_runs_of_an_experiment(self, client: httpx.AsyncClient) -> None:
        """The tags belong to the use in a run, not to the dataset."""
        first, second = await create_run(client), await create_run(client)
        await log(client, first, one(dataset(), a="1"))
        await log(client, second, one(dataset(source="later"), b="2"))
        assert await inputs_of(client, first) == [one(dataset(), a="1")]
        assert await inputs_of(client, second) == [one(dataset(), b="2")]

    async def test_not_shared_by_experiments(self, client: httpx.AsyncClient) -> None:
        made = (await client.post(f"{API}/experiments/create", json={"name": "e"})).json()
        answer = await client.post(f"{API}/runs/create", json=made)
        here, there = await create_run(client), answer.json()["run"]["info"]["run_id"]
        await log(client, here, one(dataset()))
        await log(client, there, one(dataset(source="another")))
        assert await inputs_of(client, here) == [one(dataset())]
        assert await inputs_of(client, there) == [one(dataset(source="another"))]

    async def test_same_name_of_another_tenant(
        self, client: httpx.AsyncClient, other_client: httpx.AsyncClient
    ) -> None:
        theirs, mine = await create_run(other_client), await create_run(client)
        await log(other_client, theirs, one(dataset(source="theirs")))
        await log(client, mine, one(dataset(source="mine")))
        assert await inputs_of(client, mine) == [one(dataset(source="mine"))]
        assert await inputs_of(other_client, theirs) == [one(dataset(source="theirs"))]

    async def test_several_runs_at_once(self, client: httpx.AsyncClient) -> None:
        """No deadlock, whatever the order of the datasets in the requests."""
        run_ids = [await create_run(client) for _ in range(8)]
        datasets = [one(dataset(name=f"d{n:02}"), a="1") for n in range(20)]
        await asyncio.gather(
            *(log(client, run_id, *datasets) for run_id in run_ids[::2]),
            *(log(client, run_id, *datasets[::-1]) for run_id in run_ids[1::2]),
        )
        for run_id in run_ids:
            assert await inputs_of(client, run_id) == datasets

    async def test_longest(self, client: httpx.AsyncClient) -> None:
        run_id = await create_run(client)
        longest = {
            "name": "n" * 500,
            "digest": "d" * 36,
            "source_type": "t" * 250,
            "source": "s" * 65_535,
            "schema": "s" * 1_048_575,
            "profile": "p" * 16_777_215,
        }
        await log(client, run_id, one(longest, **{"k" * 255: "v" * 500}))
        assert await inputs_of(client, run_id) == [one(longest, **{"k" * 255: "v" * 500})]

    async def test_models(self, client: httpx.AsyncClient) -> None:
        run_id = await create_run(client)
        model_ids = sorted([await create_id(client), await create_id(client)])
        await log_models(client, run_id, *model_ids, model_ids[0])
        await log_models(client, run_id, model_ids[1])
        shown = [{"model_id": model_id} for model_id in model_ids]
        run = await get_run(client, run_id)
        assert (run["inputs"], run["outputs"]) == ({"model_inputs": shown}, {})

    async def test_in_searched_runs(self, client: httpx.AsyncClient) -> None:
        run_id, model_id = await create_run(client), await create_id(client)
        await log(client, run_id, one(dataset(), a="1"))
        await log_models(client, run_id, model_id)
        answer = await client.post(f"{API}/runs/search", json={"experiment_ids": ["0"]})
        assert answer.json()["runs"] == [await get_run(client, run_id)]

    @pytest.mark.parametrize(
        ("name", "limit"),
        [
            ("name", 500),
            ("digest", 36),
            ("source_type", 250),
            ("source", 65_535),
            ("schema", 1_048_575),
            ("profile", 16_777_215),
        ],
    )
    async def test_too_long(self, client: httpx.AsyncClient, name: str, limit: int) -> None:
        run_id = await create_run(client)
        datasets = [one(dataset(**{name: "x" * (limit + 1)}))]
        answer = await client.post(LOG, json={"run_id": run_id, "datasets": datasets})
        message = f"'{name}' exceeds the maximum length of {limit} characters"
        refused(answer, 400, "INVALID_PARAMETER_VALUE", message)

    @pytest.mark.parametrize(
        ("tag", "message"),
        [
            ({"k" * 256: "v"}, "'key' exceeds the maximum length of 255 characters"),
            ({"k": "v" * 501}, "'value' exceeds the maximum length of 500 characters"),
        ],
    )
    async def test_tag_too_long(
        self, client: httpx.AsyncClient, tag: dict[str, str], message: str
    ) -> None:
        body = {"run_id": await create_run(client), "datasets": [one(dataset(), **tag)]}
        refused(await client.post(LOG, json=body), 400, "INVALID_PARAMETER_VALUE", message)

    @pytest.mark.parametrize(
        "bad",
        [
            *(one(dataset(**{name: "\x00"})) for name in [*dataset(), "schema", "profile"]),
            one(dataset(), **{"\x00": "v"}),
            one(dataset(), k="\x00"),
        ],
    )
    async def test_nul(self, client: httpx.AsyncClient, bad: dict[str, Any]) -> None:
        """Nothing of a request with an invalid text is logged."""
        run_id = await create_run(client)
        body = {"run_id": run_id, "datasets": [one(dataset(name="good")), bad]}
        invalid(await client.post(LOG, json=body), "datasets[1]", "NUL")
        assert await inputs_of(client, run_id) == []

    @pytest.mark.parametrize("name", list(dataset()))
    async def test_missing(self, client: httpx.AsyncClient, name: str) -> None:
        partial = dataset()
        del partial[name]
        body = {"run_id": await create_run(client), "datasets": [one(partial)]}
        message = f"Missing value for required parameter 'datasets[0].dataset.{name}'"
        invalid(await client.post(LOG, json=body), message)

    @pytest.mark.parametrize(
        "fields",
        [
            {"datasets": [{"tags": []}]},
            {"datasets": "d"},
            {"models": [{}]},
            {"models": [{"model_id": 7}]},
            {"models": "m"},
        ],
    )
    async def test_malformed(self, client: httpx.AsyncClient, fields: dict[str, Any]) -> None:
        invalid(await client.post(LOG, json={"run_id": await create_run(client), **fields}))

    async def test_model_that_is_absent(self, client: httpx.AsyncClient) -> None:
        """The datasets of the same request are not logged either."""
        run_id, model_id = await create_run(client), await create_id(client)
        for absent in (NOWHERE, "nope", "m-\x00"):
            models = [{"model_id": model_id}, {"model_id": absent}]
            body = {"run_id": run_id, "datasets": [one(dataset())], "models": models}
            not_found(await client.post(LOG, json=body), absent)
        assert (await get_run(client, run_id))["inputs"] == {}


class TestLogOutputs:
    async def test_models(self, client: httpx.AsyncClient) -> None:
        run_id = await create_run(client)
        early, late = await create_id(client), await create_id(client)
        models = [{"model_id": late, "step": 7}, {"model_id": early, "step": 3}]
        answer = await client.post(OUTPUTS, json={"run_id": run_id, "models": models})
        assert (answer.status_code, answer.json()) == (200, {})
        run = await get_run(client, run_id)
        assert (run["inputs"], run["outputs"]) == ({}, {"model_outputs": models[::-1]})

    async def test_retry_and_later_step(self, client: httpx.AsyncClient) -> None:
        run_id, model_id = await create_run(client), await create_id(client)
        for step in (3, 3, 4):
            models = [{"model_id": model_id, "step": step}]
            answer = await client.post(OUTPUTS, json={"run_id": run_id, "models": models})
            assert answer.status_code == 200
            assert (await get_run(client, run_id))["outputs"] == {"model_outputs": models}

    async def test_twice_in_a_request(self, client: httpx.AsyncClient) -> None:
        run_id, model_id = await create_run(client), await create_id(client)
        models = [{"model_id": model_id, "step": 1}, {"model_id": model_id, "step": 2}]
        answer = await client.post(OUTPUTS, json={"run_id": run_id, "models": models})
        assert answer.status_code == 200
        assert (await get_run(client, run_id))["outputs"] == {"model_outputs": models[1:]}

    async def test_without_a_step(self, client: httpx.AsyncClient) -> None:
        run_id, model_id = await create_run(client), await create_id(client)
        body = {"run_id": run_id, "models": [{"model_id": model_id}]}
        await client.post(OUTPUTS, json=body)
        shown = [{"model_id": model_id, "step": 0}]
        assert (await get_run(client, run_id))["outputs"] == {"model_outputs": shown}

    async def test_a_model_may_be_both(self, client: httpx.AsyncClient) -> None:
        run_id, model_id = await create_run(client), await create_id(client)
        await log_models(client, run_id, model_id)
        body = {"run_id": run_id, "models": [{"model_id": model_id, "step": 1}]}
        await client.post(OUTPUTS, json=body)
        run = await get_run(client, run_id)
        assert run["inputs"] == {"model_inputs": [{"model_id": model_id}]}
        assert run["outputs"] == {"model_outputs": [{"model_id": model_id, "step": 1}]}

    async def test_none(self, client: httpx.AsyncClient) -> None:
        body = {"run_id": await create_run(client), "models": []}
        assert (await client.post(OUTPUTS, json=body)).status_code == 200

    async def test_without_models(self, client: httpx.AsyncClient) -> None:
        answer = await client.post(OUTPUTS, json={"run_id": await create_run(client)})
        invalid(answer, "Missing value for required parameter 'models'")

    @pytest.mark.parametrize("step", [2**63, -(2**63) - 1, "x", 1.5])
    async def test_invalid_step(self, client: httpx.AsyncClient, step: object) -> None:
        models = [{"model_id": await create_id(client), "step": step}]
        body = {"run_id": await create_run(client), "models": models}
        invalid(await client.post(OUTPUTS, json=body), "step")

    async def test_model_that_is_absent(self, client: httpx.AsyncClient) -> None:
        run_id, model_id = await create_run(client), await create_id(client)
        models = [{"model_id": model_id, "step": 1}, {"model_id": NOWHERE, "step": 1}]
        answer = await client.post(OUTPUTS, json={"run_id": run_id, "models": models})
        not_found(answer, NOWHERE)
        assert (await get_run(client, run_id))["outputs"] == {}


@pytest.mark.parametrize("path", [LOG, OUTPUTS])
class TestRun:
    """Rules that both calls have for the run and the models."""

    async def test_absent_run(self, client: httpx.AsyncClient, path: str) -> None:
        for run_id in (NO_RUN, "nope"):
            answer = await client.post(path, json={"run_id": run_id, "models": []})
            refused(answer, 404, "RESOURCE_DOES_NOT_EXIST", f"Run with id={run_id} not found")

    async def test_deleted_model(self, client: httpx.AsyncClient, path: str) -> None:
        run_id, model_id = await create_run(client), await create_id(client)
        await client.delete(f"{API}/logged-models/{model_id}")
        body = {"run_id": run_id, "models": [{"model_id": model_id, "step": 0}]}
        not_found(await client.post(path, json=body), model_id)

    async def test_deleted_run(self, client: httpx.AsyncClient, path: str) -> None:
        run_id = await create_run(client)
        await client.post(f"{API}/runs/delete", json={"run_id": run_id})
        answer = await client.post(path, json={"run_id": run_id, "models": []})
        invalid(
            answer,
            f"The run {run_id} must be in the 'active' state. Current state is deleted.",
        )

    async def test_without_a_run(self, client: httpx.AsyncClient, path: str) -> None:
        for body in ({"models": []}, {"models": [], "run_id": ""}, {"models": [], "run_id": None}):
            invalid(await client.post(path, json=body), "required parameter 'run_id'")

    async def test_several_clients_at_once(self, client: httpx.AsyncClient, path: str) -> None:
        run_id = await create_run(client)
        model_ids = sorted([await create_id(client) for _ in range(10)])
        models = [{"model_id": model_id, "step": 0} for model_id in model_ids]
        answers = await asyncio.gather(
            *(
                client.post(path, json={"run_id": run_id, "models": given})
                for given in [models, models[::-1]] * 4
            )
        )
        assert {answer.status_code for answer in answers} == {200}
        run = await get_run(client, run_id)
        shown = run["inputs"].get("model_inputs") or run["outputs"]["model_outputs"]
        assert [model["model_id"] for model in shown] == model_ids

    async def test_version(
        self, client: httpx.AsyncClient, database: Database, tenant: Tenant, path: str
    ) -> None:
        """It rises with each write, and stays if nothing is written."""
        run_id, model_id = await create_run(client), await create_id(client)
        versions = [await version(database, tenant, run_id)]
        for model in (model_id, NOWHERE):
            body = {"run_id": run_id, "models": [{"model_id": model, "step": 0}]}
            await client.post(path, json=body)
            versions.append(await version(database, tenant, run_id))
        before, after, refused = versions
        assert before < after == refused


async def version(database: Database, tenant: Tenant, run_id: str) -> int:
    async with database.write(tenant) as connection:
        rows = await connection.execute(select(Run.version).where(Run.run_id == UUID(run_id)))
        return rows.scalar_one()
