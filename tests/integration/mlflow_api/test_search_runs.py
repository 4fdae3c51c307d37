"""Search of runs: filters, orders, pages and view types."""

from typing import Any

import httpx
import pytest

from app.kernel.tenant import Tenant
from tests.integration.mlflow_api.model_calls import invalid
from tests.integration.mlflow_api.tracking_calls import (
    NO_EXPERIMENT,
    done,
    get_run,
    new_experiment,
    new_run,
    ok,
    post,
)


class TestSearch:
    async def names(self, client: httpx.AsyncClient, **message: Any) -> list[str]:
        answer = ok(await post(client, "runs/search", **({"experiment_ids": ["0"]} | message)))
        return [run["info"]["run_name"] for run in answer.get("runs", [])]

    async def test_newest_first(self, client: httpx.AsyncClient) -> None:
        for start_time, name in enumerate("abc"):
            await new_run(client, run_name=name, start_time=start_time)
        assert await self.names(client) == ["c", "b", "a"]

    async def test_shows_what_get_shows(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        await post(client, "runs/log-parameter", run_id=run_id, key="p", value="1")
        answer = ok(await post(client, "runs/search", experiment_ids=["0"]))
        assert answer == {"runs": [await get_run(client, run_id)]}

    async def test_paging(self, client: httpx.AsyncClient) -> None:
        for name in "ebdac":
            run_id = await new_run(client, run_name=name)
            await post(client, "runs/log-parameter", run_id=run_id, key="p", value=name)
        message: dict[str, Any] = {
            "experiment_ids": ["0"],
            "max_results": 2,
            "order_by": ["params.p DESC"],
            "filter": "params.p != 'a'",
        }
        pages = []
        while True:
            page = ok(await post(client, "runs/search", **message))
            pages.append([run["info"]["run_name"] for run in page["runs"]])
            if "next_page_token" not in page:
                break
            message["page_token"] = page["next_page_token"]
        assert pages == [["e", "d"], ["c", "b"]]

    @pytest.mark.parametrize(
        ("view", "expected"),
        [
            ("ACTIVE_ONLY", ["kept"]),
            ("DELETED_ONLY", ["gone"]),
            ("ALL", ["gone", "kept"]),
            (None, ["kept"]),
            (2, ["gone"]),
        ],
    )
    async def test_views(self, client: httpx.AsyncClient, view: Any, expected: list[str]) -> None:
        await new_run(client, run_name="kept", start_time=1)
        run_id = await new_run(client, run_name="gone", start_time=2)
        done(await post(client, "runs/delete", run_id=run_id))
        assert await self.names(client, run_view_type=view) == expected

    async def test_several_experiments(self, client: httpx.AsyncClient) -> None:
        experiment_id = await new_experiment(client)
        await new_run(client, run_name="a", start_time=1)
        await new_run(client, experiment_id, run_name="b", start_time=2)
        both = ["0", experiment_id, NO_EXPERIMENT]
        assert await self.names(client, experiment_ids=both) == ["b", "a"]
        assert await self.names(client, experiment_ids=[experiment_id]) == ["b"]

    @pytest.mark.parametrize("experiment_ids", [[], None, [NO_EXPERIMENT]])
    async def test_no_experiments(self, client: httpx.AsyncClient, experiment_ids: Any) -> None:
        await new_run(client)
        assert ok(await post(client, "runs/search", experiment_ids=experiment_ids)) == {}

    async def test_derived_tags_are_searchable(
        self, client: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        await new_run(client, run_name="n")
        for filter in (
            f"tags.`matih.tenant_id` = '{tenant.slug}'",
            "tags.`mlflow.runName` = 'n'",
            "attributes.run_name = 'n'",
        ):
            assert await self.names(client, filter=filter) == ["n"]
        assert await self.names(client, filter="tags.`matih.tenant_id` = 'other'") == []

    @pytest.mark.parametrize(
        ("message", "words"),
        [
            ({"max_results": 0}, "'max_results' supplied. It must be a positive integer"),
            ({"max_results": 50_001}, "'max_results' supplied. It must be at most 50000"),
            ({"max_results": "x"}, "'max_results'"),
            ({"filter": "bogus"}, "Invalid clause(s) in filter string"),
            ({"filter": "metrics.m >"}, "Invalid clause(s) in filter string"),
            ({"filter": "metrics.m > 'x'"}, "m"),
            ({"filter": "params.`p = '1'"}, ""),
            ({"filter": "params.p = '\x00'"}, ""),
            ({"filter": 5}, "Invalid value 5 for parameter 'filter'"),
            ({"order_by": ["bogus"]}, "bogus"),
            ({"order_by": "start_time"}, "'order_by'"),
            ({"run_view_type": "BOGUS"}, "'run_view_type'"),
            ({"page_token": "bogus"}, "page token"),
            ({"experiment_ids": ["abc"]}, "Invalid experiment ID 'abc'"),
            ({"experiment_ids": "0"}, "Invalid value \"0\" for parameter 'experiment_ids'"),
            ({"experiment_ids": [0]}, "'experiment_ids[0]'"),
        ],
    )
    async def test_refused(
        self, client: httpx.AsyncClient, message: dict[str, Any], words: str
    ) -> None:
        message = {"experiment_ids": ["0"]} | message
        invalid(await post(client, "runs/search", **message), words)
