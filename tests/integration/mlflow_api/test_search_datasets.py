"""Search of the datasets that the runs of experiments used."""

import httpx
import pytest

from tests.integration.mlflow_api.model_calls import API, create_run, dataset, invalid, log, one

SEARCH = f"{API}/experiments/search-datasets"


async def search(client: httpx.AsyncClient, *ids: str) -> list[dict[str, str]]:
    answer = await client.post(SEARCH, json={"experiment_ids": list(ids)})
    assert answer.status_code == 200, answer.text
    return answer.json().get("dataset_summaries", [])


class TestSearchDatasets:
    async def test_once_for_each_context(self, client: httpx.AsyncClient) -> None:
        train, test = {"mlflow.data.context": "train"}, {"mlflow.data.context": "test"}
        await log(client, await create_run(client), one(dataset(), other="x", **train))
        await log(client, await create_run(client), one(dataset(), **train))
        await log(client, await create_run(client), one(dataset(), **test))
        await log(client, await create_run(client), one(dataset(name="bare"), other="x"))
        assert await search(client, "0") == [
            {"experiment_id": "0", "name": "bare", "digest": "g"},
            {"experiment_id": "0", "name": "d", "digest": "g", "context": "test"},
            {"experiment_id": "0", "name": "d", "digest": "g", "context": "train"},
        ]

    async def test_experiments(self, client: httpx.AsyncClient) -> None:
        made = (await client.post(f"{API}/experiments/create", json={"name": "e"})).json()
        answer = await client.post(f"{API}/runs/create", json=made)
        await log(client, answer.json()["run"]["info"]["run_id"], one(dataset()))
        number = made["experiment_id"]
        shown = [{"experiment_id": number, "name": "d", "digest": "g"}]
        assert await search(client, "0", number, "7", "9" * 30) == shown
        assert await search(client, "0") == []

    async def test_no_more_than_a_thousand(self, client: httpx.AsyncClient) -> None:
        datasets = [one(dataset(name=f"d{n:04}")) for n in range(1001)]
        run = await create_run(client)
        await log(client, run, *datasets[:1000])
        await log(client, run, datasets[1000])
        assert len(await search(client, "0")) == 1000

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({}, "SearchDatasets request must specify at least one experiment_id."),
            (
                {"experiment_ids": ["0"] * 21},
                "SearchDatasets request cannot specify more than 20 experiment_ids. Received 21"
                " experiment_ids.",
            ),
            ({"experiment_ids": "0"}, "experiment_ids"),
            ({"experiment_ids": ["x"]}, "Invalid experiment ID 'x'."),
            ({"experiment_ids": ["\x00"]}, "Invalid experiment ID"),
        ],
    )
    async def test_invalid(
        self, client: httpx.AsyncClient, body: dict[str, object], message: str
    ) -> None:
        invalid(await client.post(SEARCH, json=body), message)
