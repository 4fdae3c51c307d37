"""Back pressure: writes above the queue's limit are refused at once, so that clients try again."""

import asyncio

import httpx
import pytest

from app.kernel.tenant import Tenant
from app.runs import batch_writer
from app.services import Services


@pytest.fixture
def little_room(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = batch_writer.write_queue(services.database)
    monkeypatch.setattr(queue, "_max_waiting", 12)
    monkeypatch.setattr(services.runs, "_writes", queue)


@pytest.mark.usefixtures("little_room")
@pytest.mark.parametrize("api", ["mlflow", "workbench"])
async def test_what_is_too_much_can_be_retried(
    services: Services, tenant: Tenant, client: httpx.AsyncClient, api: str
) -> None:
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
        await asyncio.sleep(0.1)  # it waits for the run, the others for it
        rest = [asyncio.create_task(log(step)) for step in range(1, 10)]
        refused, waiting = await asyncio.wait(rest, timeout=0.5)
        assert len(waiting) == 3  # of two items each
        for task in refused:
            answer = task.result()
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["Retry-After"]) >= 1
    accepted = [await task for task in (first, *waiting)]
    assert all(answer.is_success for answer in accepted)
    history, _ = await services.metrics.history(tenant, run_id, "loss")
    assert len(history.steps) == len(accepted)
