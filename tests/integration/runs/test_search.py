"""Searches among runs that are being logged to, and the timeout of searches."""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.mlflow.runs import render
from app.config import Settings
from app.db.database import Database
from app.kernel.tenant import Tenant
from app.main import create_app
from app.metrics.entities import Point
from app.runs.entities import RunWrite
from app.services import Services
from tests.conftest import Postgres, client_of, new_slug
from tests.support.waiting import until_lock_waits

MLFLOW = "/api/2.0/mlflow/runs/search"
WORKBENCH = "/api/v1/experiments/runs"

VALUES = st.sampled_from([-math.inf, -1.0, 0.0, 0.5, 2.0, math.inf, math.nan])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("log"), st.integers(0, 3), st.integers(0, 3), VALUES),
        st.tuples(st.just("end"), st.integers(0, 3)),
        st.tuples(st.just("resume"), st.integers(0, 3)),
    ),
    max_size=14,
)


async def search(
    services: Services, tenant: Tenant, experiment: str, **arguments: Any
) -> list[str]:
    """The ids of the runs that are found."""
    found, _ = await services.run_search.page(
        tenant, [experiment], limit=100, render=render, **arguments
    )
    return [httpx.Response(200, content=body).json()["info"]["run_id"] for body in found]


class TestLatestValues:
    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(steps=STEPS)
    async def test_are_found_at_rest_and_while_logged_to(
        self, services: Services, database: Database, tenant: Tenant, steps: list[Any]
    ) -> None:
        """In the order of the latest values, whether they are settled or not."""
        experiment = str(await services.experiments.create(tenant, new_slug()))
        runs = [(await services.runs.create(tenant, experiment)).run_id.hex for _ in range(4)]
        latest: dict[str, tuple[int, float]] = {}
        for kind, index, *logged in steps:
            run_id = runs[index]
            if kind == "log":
                step, value = logged
                await services.runs.log(tenant, RunWrite(run_id, [Point("m", value, 1, step)]))
                # Of two values at one step the greater counts, and NaN counts as 0.
                latest[run_id] = max(
                    latest.get(run_id, (-1, 0.0)),
                    (step, value),
                    key=lambda one: (one[0], 0.0 if math.isnan(one[1]) else one[1]),
                )
            else:
                status = "FINISHED" if kind == "end" else "RUNNING"
                await services.runs.update(tenant, run_id, status=status)
        for descending in (False, True):
            order = ["metrics.m DESC" if descending else "metrics.m"]
            found = await search(services, tenant, experiment, order_by=order)
            values = [latest[run_id][1] for run_id in found if run_id in latest]
            numbers = [value for value in values if not math.isnan(value)]
            assert sorted(found) == sorted(runs)
            assert numbers == sorted(numbers, reverse=descending)
            assert all(math.isnan(value) for value in values[len(numbers) :])
            assert not any(run_id in latest for run_id in found[len(values) :])
        below = await search(
            services, tenant, experiment, filter="metrics.m < 0.5", order_by=["metrics.m"]
        )
        assert set(below) == {run_id for run_id, (_, value) in latest.items() if value < 0.5}
        async with database.write_pipeline(tenant) as connection:
            odd = await connection.execute_numbered(
                "SELECT run_id FROM metric_series WHERE tenant_id = $1"
                " AND settled_value <> last_value",
                (tenant.id,),
            )
        assert await odd.fetchall() == []

    async def test_every_run_is_found_once_while_all_are_logged_to(
        self, services: Services, tenant: Tenant
    ) -> None:
        runs = [(await services.runs.create(tenant, "0")).run_id.hex for _ in range(6)]
        for run_id in runs:
            await services.runs.log(tenant, RunWrite(run_id, [Point("m", 0.0, 0, 0)]))
        logging = True

        async def write(run_id: str, place: int) -> None:
            step = 0
            while logging:
                step += 1
                point = Point("m", math.sin(step + place), step, step)
                await services.runs.log(tenant, RunWrite(run_id, [point]))
                status = "FINISHED" if step % 3 == 0 else "RUNNING"
                await services.runs.update(tenant, run_id, status=status)

        async def read() -> None:
            for _ in range(60):
                for order in ("metrics.m", "metrics.m DESC"):
                    found = await search(services, tenant, "0", order_by=[order])
                    assert sorted(found) == sorted(runs)

        async with asyncio.TaskGroup() as group:
            for place, run_id in enumerate(runs):
                group.create_task(write(run_id, place))
            reading = group.create_task(read())
            await asyncio.wait([reading])
            logging = False


class TestTimeout:
    @pytest.fixture
    async def impatient(self, settings: Settings, tenant: Tenant) -> AsyncIterator[FastAPI]:
        application = create_app(settings.model_copy(update={"search_timeout_seconds": 0.2}))
        async with application.router.lifespan_context(application):
            yield application

    async def test_a_search_that_takes_too_long_is_refused(
        self, impatient: FastAPI, tenant: Tenant, postgres: Postgres
    ) -> None:
        """The next search on the same connection is not."""
        async with client_of(impatient, tenant) as client:
            asked = {"experiment_ids": ["0"]}
            async with await psycopg.AsyncConnection.connect(postgres.owner_url) as owner:
                await owner.execute("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE")
                mlflow = await client.post(MLFLOW, json=asked)
                workbench = await client.get(WORKBENCH)
            assert mlflow.status_code == 400
            assert mlflow.json()["error_code"] == "INVALID_PARAMETER_VALUE"
            assert "took more than 0.2 seconds" in mlflow.json()["message"]
            assert workbench.status_code == 422
            assert workbench.json()["errors"][0]["field"] == "filter"
            assert (await client.post(MLFLOW, json=asked)).status_code == 200
            assert (await client.get(WORKBENCH)).status_code == 200

    async def test_other_requests_have_no_search_timeout(
        self, impatient: FastAPI, tenant: Tenant, postgres: Postgres
    ) -> None:
        async with client_of(impatient, tenant) as client:
            assert (await client.post(MLFLOW, json={"experiment_ids": ["0"]})).status_code == 200
            async with await psycopg.AsyncConnection.connect(postgres.owner_url) as owner:
                await owner.execute("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE")
                creating = asyncio.create_task(
                    client.post("/api/2.0/mlflow/runs/create", json={"experiment_id": "0"})
                )
                # For longer than a search may.
                await until_lock_waits(postgres.app_url, seconds=0.4)
                assert not creating.done()
            assert (await creating).status_code == 200
