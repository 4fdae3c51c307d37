"""Search of logged models. Filters have tests of their own."""

from typing import Any

import httpx
import pytest

from tests.integration.mlflow_api.model_calls import (
    MODELS,
    create_id,
    create_run,
    get,
    invalid,
    log_metric,
)
from tests.support.waiting import next_millisecond


class TestSearch:
    async def search(self, client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
        answer = await client.post(f"{MODELS}/search", json={"experiment_ids": ["0"], **body})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def names(self, client: httpx.AsyncClient, **body: Any) -> list[str]:
        found = await self.search(client, **body)
        return [model["info"]["name"] for model in found.get("models", [])]

    async def filled(self, client: httpx.AsyncClient) -> list[str]:
        """The names, oldest first, of three models, each with a metric on its own dataset."""
        run_id = await create_run(client)
        for n, name in enumerate(("a", "b", "c")):
            model_id = await create_id(client, name=name, tags=[{"key": "n", "value": str(n)}])
            await log_metric(
                client, run_id, model_id, key="m", value=-n, timestamp=1,
                dataset_name=f"d-{name}", dataset_digest="g",
            )  # fmt: skip
            next_millisecond()
        return ["a", "b", "c"]

    async def test_whole_models(self, client: httpx.AsyncClient) -> None:
        await self.filled(client)
        found = await self.search(client)
        shown = [await get(client, model["info"]["model_id"]) for model in found["models"]]
        assert found == {"models": shown}

    async def test_newest_first(self, client: httpx.AsyncClient) -> None:
        assert await self.search(client) == {}
        assert await self.filled(client) == (await self.names(client))[::-1]

    async def test_filter(self, client: httpx.AsyncClient) -> None:
        await self.filled(client)
        assert await self.names(client, filter="tags.n = '1'") == ["b"]
        assert await self.names(client, filter="name = 'c'") == ["c"]
        assert await self.names(client, filter="metrics.m < -1") == ["c"]
        assert await self.names(client, filter="model_type = ''") == ["c", "b", "a"]

    async def test_datasets(self, client: httpx.AsyncClient) -> None:
        await self.filled(client)
        on = [{"dataset_name": "d-b"}, {"dataset_name": "d-c", "dataset_digest": "other"}]
        assert await self.names(client, filter="metrics.m <= 0", datasets=on) == ["b"]

    async def test_order(self, client: httpx.AsyncClient) -> None:
        await self.filled(client)
        by = [{"field_name": "metrics.m"}]
        assert await self.names(client, order_by=by) == ["c", "b", "a"]
        assert await self.names(client, order_by=[by[0] | {"ascending": False}]) == ["a", "b", "c"]
        assert await self.names(client, order_by=[{"field_name": "name"}]) == ["a", "b", "c"]

    async def test_pages(self, client: httpx.AsyncClient) -> None:
        await self.filled(client)
        names, token = [], ""
        while True:
            page = await self.search(client, max_results=1, page_token=token)
            names += [model["info"]["name"] for model in page["models"]]
            token = page.get("next_page_token")
            if not token:
                break
        assert names == ["c", "b", "a"]

    async def test_sizes(self, client: httpx.AsyncClient) -> None:
        for _ in range(51):
            await create_id(client)
        assert len((await self.search(client))["models"]) == 50
        for size in (0, "51", 50_000):
            assert len((await self.search(client, max_results=size))["models"]) == 51

    async def test_experiments(self, client: httpx.AsyncClient) -> None:
        await create_id(client)
        for ids in ([], ["7"], ["-1"], ["9" * 30]):
            assert await self.search(client, experiment_ids=ids) == {}
        assert len((await self.search(client, experiment_ids=["0", "7"]))["models"]) == 1

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({"max_results": -1}, "max_results"),
            ({"max_results": 50_001}, "max_results"),
            ({"max_results": "many"}, "max_results"),
            ({"filter": "name ="}, "filter"),
            ({"filter": "name = '\x00'"}, "filter"),
            ({"order_by": [{"field_name": "bogus"}]}, "Invalid order by field name: bogus"),
            ({"order_by": [{}]}, "Invalid order by field name: "),
            ({"order_by": [{"field_name": "params.x"}]}, "Only metrics are supported."),
            ({"order_by": ["name"]}, "order_by"),
            (
                {"datasets": [{"dataset_digest": "x"}]},
                "`dataset_name` in the `datasets` clause must be specified.",
            ),
            ({"page_token": "zzz"}, "page token"),
            ({"experiment_ids": None}, "experiment_ids"),
            ({"experiment_ids": ["x"]}, "Invalid experiment ID 'x'."),
        ],
    )
    async def test_invalid(
        self, client: httpx.AsyncClient, body: dict[str, object], message: str
    ) -> None:
        answer = await client.post(f"{MODELS}/search", json={"experiment_ids": ["0"], **body})
        invalid(answer, message)

    async def test_without_experiments(self, client: httpx.AsyncClient) -> None:
        invalid(await client.post(f"{MODELS}/search", json={}), "'experiment_ids'")
