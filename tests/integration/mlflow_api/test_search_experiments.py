"""Search of experiments: filters, orders, pages and view types."""

from typing import Any

import httpx
import pytest

from app.kernel.tenant import Tenant
from tests.integration.mlflow_api.model_calls import API, invalid
from tests.integration.mlflow_api.tracking_calls import (
    done,
    get_experiment,
    new_experiment,
    ok,
    pairs,
    post,
)


class TestSearch:
    ROUTE = "experiments/search"

    async def names(self, client: httpx.AsyncClient, **message: Any) -> list[str]:
        found = ok(await post(client, self.ROUTE, **({"max_results": 100} | message)))
        return [one["name"] for one in found.get("experiments", [])]

    async def test_newest_first(self, client: httpx.AsyncClient) -> None:
        for name in ("a", "b"):
            await new_experiment(client, name)
        assert await self.names(client) == ["b", "a", "Default"]

    async def test_shows_what_get_shows(self, client: httpx.AsyncClient) -> None:
        experiment_id = await new_experiment(client, "x", tags=pairs(a="1"))
        found = ok(await post(client, self.ROUTE, max_results=1))
        assert found["experiments"] == [await get_experiment(client, experiment_id)]

    async def test_nothing_found(self, client: httpx.AsyncClient) -> None:
        answer = await post(client, self.ROUTE, max_results=1, filter="name = 'x'")
        assert ok(answer) == {}

    async def test_paging(self, client: httpx.AsyncClient) -> None:
        for name in "cabed":
            await new_experiment(client, name)
        message = {"max_results": 4, "order_by": ["name ASC"], "filter": "name != 'Default'"}
        first = ok(await post(client, self.ROUTE, **message))
        token = first["next_page_token"]
        # An experiment that is created between two pages does not shift them.
        await new_experiment(client, "aa")
        second = ok(await post(client, self.ROUTE, **message, page_token=token))
        names = [one["name"] for page in (first, second) for one in page["experiments"]]
        assert names == ["a", "b", "c", "d", "e"]
        assert "next_page_token" not in second

    @pytest.mark.parametrize(
        ("view_type", "expected"),
        [
            ("ACTIVE_ONLY", ["Default"]),
            ("DELETED_ONLY", ["gone"]),
            ("ALL", ["gone", "Default"]),
            (1, ["Default"]),
            (2, ["gone"]),
            (3, ["gone", "Default"]),
            (None, ["Default"]),
        ],
    )
    async def test_views(
        self, client: httpx.AsyncClient, view_type: Any, expected: list[str]
    ) -> None:
        experiment_id = await new_experiment(client, "gone")
        done(await post(client, "experiments/delete", experiment_id=experiment_id))
        assert await self.names(client, view_type=view_type) == expected

    async def test_by_query(self, client: httpx.AsyncClient) -> None:
        for name in ("a", "b"):
            await new_experiment(client, name)
        answer = await client.get(
            f"{API}/{self.ROUTE}?max_results=2&order_by=name%20DESC&view_type=ACTIVE_ONLY"
        )
        assert [one["name"] for one in ok(answer)["experiments"]] == ["b", "a"]

    async def test_by_tag(self, client: httpx.AsyncClient, tenant: Tenant) -> None:
        await new_experiment(client, "x", tags=pairs(team="vision"))
        assert await self.names(client, filter="tags.team = 'vision'") == ["x"]
        by_tenant = "tags.`matih.tenant_id` = '{}'"
        assert len(await self.names(client, filter=by_tenant.format(tenant.slug))) == 2
        assert await self.names(client, filter=by_tenant.format("other")) == []

    @pytest.mark.parametrize("max_results", [1, "1", 1.0])
    async def test_numbers(self, client: httpx.AsyncClient, max_results: Any) -> None:
        assert await self.names(client, max_results=max_results) == ["Default"]

    @pytest.mark.parametrize(
        ("message", "words"),
        [
            ({"max_results": 0}, "'max_results' supplied. It must be a positive integer"),
            ({"max_results": -1}, "'max_results' supplied. It must be a positive integer"),
            ({"max_results": 50_001}, "'max_results' supplied. It must be at most 50000"),
            ({"max_results": 10**30}, "'max_results'"),
            ({"max_results": "x"}, "'max_results'"),
            ({"max_results": 1.5}, "'max_results'"),
            ({"view_type": "BOGUS"}, "'view_type'"),
            ({"view_type": 7}, "'view_type'"),
            ({"filter": "bogus"}, "Invalid clause(s) in filter string"),
            ({"filter": "name ="}, "Invalid clause(s) in filter string"),
            ({"filter": "bogus = 'x'"}, "bogus"),
            ({"filter": "name = '\x00'"}, ""),
            ({"filter": 5}, "Invalid value 5 for parameter 'filter'"),
            ({"order_by": ["bogus"]}, "bogus"),
            ({"order_by": "name"}, "Invalid value \"name\" for parameter 'order_by'"),
            ({"order_by": [5]}, "'order_by[0]'"),
            ({"page_token": "bogus"}, "page token"),
            ({"page_token": "é\x00"}, "page token"),
        ],
    )
    async def test_refused(
        self, client: httpx.AsyncClient, message: dict[str, Any], words: str
    ) -> None:
        invalid(await post(client, self.ROUTE, **({"max_results": 5} | message)), words)
