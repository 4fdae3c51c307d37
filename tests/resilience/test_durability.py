"""A real server, killed while clients log: every acknowledged point is there afterwards."""

import asyncio
import os
import signal
from pathlib import Path

import httpx

from tests.conftest import running_server

CLIENTS = 16


async def test_sigkill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """The server runs its embedded Postgres, as `make run` does; the next one adopts it."""
    environment = {"TRACKING_DATA_DIR": str(tmp_path / "data")}
    with running_server(environment, tmp_path / "first.log") as (url, process):
        async with httpx.AsyncClient(base_url=f"{url}/api/2.0/mlflow") as client:
            created = await client.post("/runs/create", json={"experiment_id": "0"})
            run_id = created.json()["run"]["info"]["run_id"]
            acknowledged: set[tuple[str, int]] = set()
            enough = asyncio.Event()
            logging = [
                asyncio.create_task(
                    log_until_cut_off(client, run_id, f"m{number}", acknowledged, enough)
                )
                for number in range(CLIENTS)
            ]
            await asyncio.wait_for(enough.wait(), 60)
            os.kill(process.pid, signal.SIGKILL)
            await asyncio.gather(*logging)
        process.wait()
    with running_server(environment, tmp_path / "second.log") as (url, _):
        async with httpx.AsyncClient(base_url=f"{url}/api/2.0/mlflow", timeout=30) as client:
            stored = {
                (f"m{number}", point["step"])
                for number in range(CLIENTS)
                for point in await history(client, run_id, f"m{number}")
            }
            latest = (await client.get("/runs/get", params={"run_id": run_id})).json()
    assert acknowledged <= stored
    # What was in flight may have been committed without its answer: one request a client at most.
    assert len(stored - acknowledged) <= CLIENTS
    metrics = {metric["key"]: metric["step"] for metric in latest["run"]["data"]["metrics"]}
    assert metrics == {key: max(s for k, s in stored if k == key) for key in metrics}


async def log_until_cut_off(
    client: httpx.AsyncClient,
    run_id: str,
    key: str,
    acknowledged: set[tuple[str, int]],
    enough: asyncio.Event,
) -> None:
    for step in range(100_000):
        point = {"run_id": run_id, "key": key, "value": step, "timestamp": step, "step": step}
        try:
            answer = await client.post("/runs/log-metric", json=point)
        except httpx.TransportError:
            return
        assert answer.status_code == 200, answer.text
        acknowledged.add((key, step))
        if len(acknowledged) == 500:
            enough.set()


async def history(client: httpx.AsyncClient, run_id: str, key: str) -> list[dict[str, int]]:
    answer = await client.get("/metrics/get-history", params={"run_id": run_id, "metric_key": key})
    points: list[dict[str, int]] = answer.json()["metrics"]
    return points
