"""Slow requests of one tenant do not delay another tenant's."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI

from app.db.database import Database
from app.kernel.errors import UnavailableError
from app.kernel.tenant import Tenant
from app.services import Services
from tests.conftest import client_of, new_slug

# Longer than any test waits for an answer, and than a request waits for a connection.
FOR_LONG = "SELECT pg_sleep(120)"


async def read_slowly(database: Database, tenant: Tenant) -> None:
    """As a search that finds no index."""
    async with database.read_pipeline(tenant) as connection:
        await (await connection.execute(FOR_LONG)).fetchall()


async def write_slowly(database: Database, tenant: Tenant) -> None:
    """As a write that waits for a lock."""
    async with database.write_pipeline(tenant) as connection:
        await (await connection.execute(FOR_LONG)).fetchall()


Slow = Callable[[Database, Tenant], Coroutine[None, None, None]]


@asynccontextmanager
async def under_way(
    database: Database, tenant: Tenant, slow: Slow, number: int, holding: int
) -> AsyncIterator[list[asyncio.Task[None]]]:
    """So many requests at once, of which so many have a connection; ended after the context."""
    before = database.pool_statistics().in_use
    tasks = [asyncio.create_task(slow(database, tenant)) for _ in range(number)]
    try:
        while database.pool_statistics().in_use - before < holding:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def everyday(client: httpx.AsyncClient, step: int) -> list[httpx.Response]:
    """Reads and writes of both APIs, one after another."""
    api = "/api/2.0/mlflow"
    created = await client.post(f"{api}/runs/create", json={"experiment_id": "0"})
    run_id = created.json()["run"]["info"]["run_id"]
    metric = {"run_id": run_id, "key": "loss", "value": 1.0, "timestamp": step, "step": step}
    return [
        created,
        await client.post(f"{api}/runs/log-metric", json=metric),
        await client.get(f"{api}/runs/get", params={"run_id": run_id}),
        await client.post(f"{api}/runs/search", json={"experiment_ids": ["0"]}),
        await client.get(
            f"{api}/metrics/get-history", params={"run_id": run_id, "metric_key": "loss"}
        ),
        await client.get("/api/v1/experiments"),
    ]


@pytest.mark.parametrize(("slow", "holding"), [(read_slowly, 4), (write_slowly, 5)])
async def test_another_tenant_neither_waits_nor_is_turned_away(
    app: FastAPI, services: Services, tenant: Tenant, other_tenant: Tenant, slow: Slow, holding: int
) -> None:
    """While one has ten slow requests, which hold no more than its share of ten connections."""
    async with (
        under_way(services.database, tenant, slow, 10, holding) as tasks,
        client_of(app, other_tenant) as client,
    ):
        for step in range(20):
            answers = await asyncio.wait_for(everyday(client, step), 30)
            assert [answer.status_code for answer in answers] == [200] * len(answers)
        assert services.database.pool_statistics().in_use == holding
        # What found no connection was told to come back; the rest is as slow as it was.
        given_up = [task for task in tasks if task.done()]
        assert all(isinstance(task.exception(), UnavailableError) for task in given_up)
        assert len(given_up) <= 10 - holding
    assert services.database.pool_statistics().waiting == 0


async def test_everybody_can_write_while_reads_are_slow(
    app: FastAPI, services: Services, tenant: Tenant, other_tenant: Tenant
) -> None:
    """Slow reads of two tenants leave them, and a third that is new, room for writes."""
    database = services.database
    async with (
        under_way(database, tenant, read_slowly, 10, 4),
        under_way(database, other_tenant, read_slowly, 10, 4),
    ):
        newcomer = await services.tenant_lookup.resolve(new_slug(), create=True)
        for one in (tenant, other_tenant, newcomer):
            async with client_of(app, one) as client:
                created = await client.post(
                    "/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}
                )
                assert created.status_code == 200


async def test_who_waits_is_counted(services: Services, tenant: Tenant) -> None:
    async with under_way(services.database, tenant, write_slowly, 7, 5):
        assert services.database.pool_statistics().waiting == 2
    assert services.database.pool_statistics().waiting == 0
