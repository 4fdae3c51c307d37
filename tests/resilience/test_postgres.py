"""Postgres goes away under load, and comes back: nothing acknowledged is lost, clients are told to
try again, and the service recovers by itself."""

import asyncio
from pathlib import Path

import httpx

from tests.conftest import running_server
from tests.resilience.load import load
from tests.resilience.postgres import Killable


async def test_killed_and_started_again(
    killable: Killable, environment: dict[str, str], tmp_path: Path
) -> None:
    with running_server(environment, tmp_path / "log") as (url, process):
        async with load(url) as it:
            for _ in range(2):
                await it.more(100)
                await asyncio.to_thread(killable.kill)
                await it.refusals(20)
                async with httpx.AsyncClient(base_url=url) as probe:
                    assert (await probe.get("/health")).status_code == 200
                    assert (await probe.get("/ready")).status_code == 503
                await asyncio.to_thread(killable.start)
            await it.more(100)
        await it.check()
        assert process.poll() is None
    assert it.answers["503"] >= 40
    print("faults injected: Postgres killed 2 times")


async def test_every_connection_ended(
    killable: Killable, environment: dict[str, str], tmp_path: Path
) -> None:
    ended = 0
    with running_server(environment, tmp_path / "log") as (url, process):
        async with load(url) as it:
            for _ in range(5):
                await it.more(50)
                ended += await asyncio.to_thread(killable.end_all_connections)
            await it.more(50)
        await it.check()
        assert process.poll() is None
    assert ended >= 5
    print(f"faults injected: {ended} connections ended")


async def test_a_pool_that_went_stale_while_idle(
    killable: Killable, environment: dict[str, str], tmp_path: Path
) -> None:
    """Nobody was refused while it happened; those who come next need not know of it either."""
    ended = 0
    with running_server(environment, tmp_path / "log") as (url, _):
        async with load(url) as it:
            await it.more(50)
        for _ in range(2):
            ended += await asyncio.to_thread(killable.end_all_connections)
            refused = it.answers["503"]
            async with httpx.AsyncClient(timeout=15) as client:
                runs = list(it.acknowledged)
                for run_id in runs:
                    await it.ask(client, "GET", "runs/get", params={"run_id": run_id})
                    tag = {"run_id": run_id, "key": "k", "value": "v"}
                    await it.ask(client, "POST", "runs/set-tag", json=tag)
            assert it.answers["503"] == refused
        await it.check()
    assert ended > 2
    print(f"faults injected: {ended} idle connections ended")
