"""Disconnects: a request's statement ends, and its connection is freed."""

import asyncio

import httpx
import psycopg

from tests.conftest import Postgres, new_slug

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'runs'::regclass"


async def test_a_search_ends_in_postgres_when_its_client_hangs_up(
    server_url: str, postgres: Postgres
) -> None:
    url = f"{server_url}/t/{new_slug()}/api/2.0/mlflow"
    async with (
        httpx.AsyncClient(timeout=30) as client,
        await psycopg.AsyncConnection.connect(postgres.owner_url) as locking,
        await psycopg.AsyncConnection.connect(postgres.owner_url, autocommit=True) as looking,
    ):
        created = await client.post(f"{url}/experiments/create", json={"name": "searched"})
        search = {"experiment_ids": [created.json()["experiment_id"]]}
        await locking.execute("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE")
        asking = asyncio.create_task(client.post(f"{url}/runs/search", json=search))
        assert await until(1, looking)
        asking.cancel()  # closes the connection
        assert await until(0, looking), "Postgres went on for nobody"
        await locking.rollback()
        answer = await client.post(f"{url}/runs/search", json=search)
        assert answer.status_code == 200, answer.text


async def until(count: int, connection: psycopg.AsyncConnection) -> bool:
    """Whether that many statements wait for a lock on runs within ten seconds."""
    for _ in range(200):
        row = await (await connection.execute(WAITING)).fetchone()
        if row == (count,):
            return True
        await asyncio.sleep(0.05)
    return False
