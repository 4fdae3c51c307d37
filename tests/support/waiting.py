"""Waiting for conditions, never for a time."""

import asyncio
import time
from collections.abc import Callable

import psycopg

from app.kernel.clock import now_ms

PATIENCE = 30.0


async def until(condition: Callable[[], object], within: float = PATIENCE) -> None:
    """Raises TimeoutError where the condition does not come true within so many seconds."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 (what is waited for has no event)
            await asyncio.sleep(0.01)


async def until_lock_waits(url: str, count: int = 1, *, seconds: float = 0) -> None:
    """Until so many sessions of the server have waited for a lock for `seconds`."""
    async with (
        asyncio.timeout(PATIENCE),
        await psycopg.AsyncConnection.connect(url, autocommit=True) as connection,
    ):
        while True:
            cursor = await connection.execute(
                "SELECT count(*) FROM pg_locks WHERE NOT granted"
                " AND clock_timestamp() - waitstart >= make_interval(secs => %s)",
                [seconds],
            )
            if (row := await cursor.fetchone()) and row[0] >= count:
                return
            await asyncio.sleep(0.01)


async def settle() -> None:
    """Let the other tasks go on until each waits for something that none of them gives."""
    for _ in range(20):
        await asyncio.sleep(0)


def next_millisecond() -> None:
    """Wait for the clock to show another time: what comes then is later."""
    before = now_ms()
    while now_ms() == before:
        time.sleep(0)
