"""Tags of experiments, with the rules of MLflow 3.17's server."""

from typing import Any

import httpx
import pytest

from tests.integration.mlflow_api.model_calls import invalid, refused
from tests.integration.mlflow_api.tracking_calls import (
    done,
    get_experiment,
    missing,
    new_experiment,
    pairs,
    post,
    tags_of,
)


class TestSetTag:
    async def test_sets_and_overwrites(self, client: httpx.AsyncClient) -> None:
        experiment_id = await new_experiment(client, tags=pairs(kept="yes"))
        for value in ("1", "2", ""):
            tag = {"key": "a/b c", "value": value}
            done(
                await post(
                    client, "experiments/set-experiment-tag", experiment_id=experiment_id, **tag
                )
            )
            tags = tags_of(await get_experiment(client, experiment_id))
            assert (tags["a/b c"], tags["kept"]) == (value, "yes")

    @pytest.mark.parametrize("fields", [{}, {"value": None}])
    async def test_no_value_is_empty(
        self, client: httpx.AsyncClient, fields: dict[str, Any]
    ) -> None:
        answer = await post(
            client, "experiments/set-experiment-tag", experiment_id="0", key="k", **fields
        )
        done(answer)
        assert tags_of(await get_experiment(client, "0"))["k"] == ""

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"key": "k" * 251}, "'key' exceeds the maximum length of 250 characters"),
            ({"value": "v" * 20_001}, "'value' exceeds the maximum length of 20000 characters"),
            ({"key": "a!b"}, "'key' supplied: Names may only contain"),
            ({"key": "a//b"}, "This name would resolve to 'a/b'"),
            ({"key": "../b"}, "'key'"),
            ({"value": "a\x00"}, "'value'"),
            ({"value": 5}, "Invalid value 5 for parameter 'value'"),
            ({"key": ""}, "Missing value for required parameter 'key'"),
            ({"key": None}, "Missing value for required parameter 'key'"),
        ],
    )
    async def test_refused(
        self, client: httpx.AsyncClient, fields: dict[str, Any], words: str
    ) -> None:
        message = {"experiment_id": "0", "key": "k", "value": "v"} | fields
        before = await get_experiment(client, "0")
        invalid(await post(client, "experiments/set-experiment-tag", **message), words)
        assert await get_experiment(client, "0") == before

    async def test_deleted_experiment(self, client: httpx.AsyncClient) -> None:
        experiment_id = await new_experiment(client)
        done(await post(client, "experiments/delete", experiment_id=experiment_id))
        message = {"experiment_id": experiment_id, "key": "k", "value": "v"}
        answer = await post(client, "experiments/set-experiment-tag", **message)
        invalid(answer, f"The experiment {experiment_id} must be in the 'active' state.")


class TestDeleteTag:
    ROUTE = "experiments/delete-experiment-tag"

    async def test_deletes_one(self, client: httpx.AsyncClient) -> None:
        experiment_id = await new_experiment(client, tags=pairs(a="1", b="2"))
        done(await post(client, self.ROUTE, experiment_id=experiment_id, key="a"))
        tags = tags_of(await get_experiment(client, experiment_id))
        assert tags.keys() == {"b", "matih.tenant_id"}

    async def test_absent(self, client: httpx.AsyncClient) -> None:
        refused(
            await post(client, self.ROUTE, experiment_id="0", key="k"),
            404,
            "RESOURCE_DOES_NOT_EXIST",
            "No tag with name: k in experiment with id 0",
        )

    async def test_tenants_tag(self, client: httpx.AsyncClient) -> None:
        invalid(
            await post(client, self.ROUTE, experiment_id="0", key="matih.tenant_id"),
            "cannot be deleted",
        )

    @pytest.mark.parametrize("field", ["experiment_id", "key"])
    async def test_missing(self, client: httpx.AsyncClient, field: str) -> None:
        message = {"experiment_id": "0", "key": "k"} | {field: ""}
        missing(await post(client, self.ROUTE, **message), field)
