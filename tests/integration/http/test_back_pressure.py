"""Back pressure: writes above the queue's limit are refused at once, so that clients try again."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from app.config import Settings
from app.kernel.tenant import Tenant
from app.main import create_app
from app.runs import batch_writer
from app.services import Services
from tests.conftest import client_of
from tests.support.waiting import until, until_lock_waits


@pytest.fixture
async def little_room(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[FastAPI]:
    """An application in which few writes may wait."""
    monkeypatch.setattr(batch_writer, "MAX_WAITING_ITEMS", 12)
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest.mark.parametrize("api", ["mlflow", "workbench"])
async def test_what_is_too_much_can_be_retried(
    services: Services, tenant: Tenant, little_room: FastAPI, settings: Settings, api: str
) -> None:
    client = client_of(little_room, tenant)
    run_id = (await services.runs.create(tenant, "0")).run_id.hex

    async def log(step: int) -> httpx.Response:
        if api == "mlflow":
            point = {"run_id": run_id, "key": "loss", "value": 1, "timestamp": step, "step": step}
            return await client.post("/api/2.0/mlflow/runs/log-metric", json=point)
        body = {"metrics": {"loss": 1}, "step": step}
        path = f"/api/v1/experiments/runs/{run_id}/log-metrics"
        return await client.post(path, json=body)

    async with services.database.write_pipeline(tenant) as connection:
        locked = await connection.execute("SELECT run_id FROM runs FOR UPDATE")
        await locked.fetchall()
        first = asyncio.create_task(log(0))
        # It waits for the run, the others for it; three, of two items each, have room to.
        await until_lock_waits(settings.database_url or "")
        rest = [asyncio.create_task(log(step)) for step in range(1, 10)]
        await until(lambda: sum(task.done() for task in rest) == 6)
        refused, waiting = await asyncio.wait(rest, timeout=0)
        for task in refused:
            answer = task.result()
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["Retry-After"]) >= 1
    accepted = [await task for task in (first, *waiting)]
    assert all(answer.is_success for answer in accepted)
    history, _ = await services.metrics.history(tenant, run_id, "loss")
    assert len(history.steps) == len(accepted)
