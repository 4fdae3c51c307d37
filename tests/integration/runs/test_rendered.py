"""The cache of rendered runs: never older than what was committed, by any worker, and bounded."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI

from app.api.mlflow.runs import render
from app.api.run_json_cache import RunJsonCache
from app.config import Settings
from app.kernel.tenant import Tenant
from app.main import create_app
from app.services import Services
from tests.conftest import client_of

API = "/api/2.0/mlflow"
RUNS = "/api/v1/experiments/runs"

Write = Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]


def post(path: str, **fields: object) -> Write:
    async def write(client: httpx.AsyncClient, run_id: str) -> httpx.Response:
        return await client.post(f"{API}/{path}", json={"run_id": run_id} | fields)

    return write


DATASET = {"name": "d", "digest": "1", "source_type": "local", "source": "s"}

WRITES = {
    "log-metric": post("runs/log-metric", key="m", value=1, timestamp=1),
    "log-parameter": post("runs/log-parameter", key="p", value="1"),
    "set-tag": post("runs/set-tag", key="t", value="1"),
    "rename by tag": post("runs/set-tag", key="mlflow.runName", value="renamed"),
    "log-batch": post("runs/log-batch", tags=[{"key": "u", "value": "1"}]),
    "update": post("runs/update", status="FINISHED", end_time=5),
    "log-inputs": post("runs/log-inputs", datasets=[{"dataset": DATASET}]),
    "delete-tag": post("runs/delete-tag", key="first"),
    "delete": post("runs/delete"),
}


@pytest.fixture(scope="module")
async def other_worker(settings: Settings) -> AsyncIterator[FastAPI]:
    application = create_app(settings)
    async with application.router.lifespan_context(application):
        yield application


class TestFreshness:
    @pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
    async def test_another_workers_write_is_seen_at_once(
        self, client: httpx.AsyncClient, other_worker: FastAPI, tenant: Tenant, write: Write
    ) -> None:
        body = {"experiment_id": "0", "tags": [{"key": "first", "value": "1"}]}
        created = await client.post(f"{API}/runs/create", json=body)
        run_id = created.json()["run"]["info"]["run_id"]
        before = await self.read(client, run_id)
        assert await self.read(client, run_id) == before
        async with client_of(other_worker, tenant) as other:
            answer = await write(other, run_id)
            assert answer.status_code == 200, answer.text
            written = await self.read(other, run_id)
        assert written["mlflow"] != before["mlflow"]
        assert await self.read(client, run_id) == written

    async def test_an_experiments_deletion_is_seen(
        self, client: httpx.AsyncClient, services: Services, tenant: Tenant
    ) -> None:
        experiment = str(await services.experiments.create(tenant, "e"))
        run_id = (await services.runs.create(tenant, experiment)).run_id.hex
        assert (await self.stages(client, run_id)) == {"active"}
        await services.experiments.delete(tenant, experiment)
        assert (await self.stages(client, run_id)) == {"deleted"}
        await services.experiments.restore(tenant, experiment)
        assert (await self.stages(client, run_id)) == {"active"}

    async def test_an_artifact_is_seen_which_is_no_write_to_the_run(
        self, client: httpx.AsyncClient, services: Services, tenant: Tenant
    ) -> None:
        run_id = (await services.runs.create(tenant, "0")).run_id.hex
        assert (await self.read(client, run_id))["workbench"]["artifacts"] == []
        files = {"file": ("note.txt", b"hello")}
        logged = await client.post(f"{RUNS}/{run_id}/log-artifact", files=files)
        assert logged.status_code == 200, logged.text
        assert (await self.read(client, run_id))["workbench"]["artifacts"] == ["note.txt"]

    async def stages(self, client: httpx.AsyncClient, run_id: str) -> set[object]:
        shown = await self.read(client, run_id)
        return {shown["mlflow"]["info"]["lifecycle_stage"], shown["workbench"]["lifecycle_stage"]}

    async def read(self, client: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
        """The run in both APIs, by its id and by a search, which must agree."""
        got = (await client.get(f"{API}/runs/get", params={"run_id": run_id})).json()["run"]
        body = {
            "experiment_ids": [got["info"]["experiment_id"]],
            "filter": f"run_id = '{run_id}'",
            "run_view_type": "ALL",
        }
        (found,) = (await client.post(f"{API}/runs/search", json=body)).json()["runs"]
        assert found == got
        shown = (await client.get(f"{RUNS}/{run_id}")).json()
        query = {"filter": body["filter"], "lifecycle_stage": "all"}
        listed = (await client.get(RUNS, params=query)).json()
        assert listed == {"runs": [shown], "total": 1, "limit": 100, "offset": 0}
        return {"mlflow": got, "workbench": shown}


class TestBounds:
    async def test_the_least_recently_used_go_first(
        self, services: Services, tenant: Tenant
    ) -> None:
        runs = [await services.runs.create(tenant, "0", tags={"t": "x" * 500}) for _ in range(3)]
        first, second, third = runs
        size = len(render(first))
        cache = RunJsonCache(max_bytes=int(size * 2.5))
        for run in (first, second):
            cache.add(tenant.id, run, render)
        found = cache.get(tenant.id, first.run_id, 0, render)
        assert found is not None
        assert found.body == render(first)
        cache.add(tenant.id, third, render)
        assert cache.get(tenant.id, second.run_id, 0, render) is None
        assert cache.get(tenant.id, first.run_id, 0, render) is not None
        assert cache.get(tenant.id, third.run_id, 0, render) is not None

    async def test_a_newer_one_takes_the_place_of_the_older(
        self, services: Services, tenant: Tenant
    ) -> None:
        run = await services.runs.create(tenant, "0")
        cache = RunJsonCache()
        for version in range(5):
            cache.add(tenant.id, msgspec.structs.replace(run, version=version), render)
        assert cache.get(tenant.id, run.run_id, 3, render) is None
        found = cache.get(tenant.id, run.run_id, 4, render)
        assert found is not None
        assert found.body == render(run)

    async def test_tenants_are_kept_apart(
        self, services: Services, tenant: Tenant, other_tenant: Tenant
    ) -> None:
        run = await services.runs.create(tenant, "0")
        cache = RunJsonCache()
        cache.add(tenant.id, run, render)
        assert cache.get(other_tenant.id, run.run_id, 0, render) is None
