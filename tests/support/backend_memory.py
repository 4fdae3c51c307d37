"""What one backend of Postgres takes for itself while something is read."""

import asyncio
from collections.abc import Awaitable

import psutil
import pytest

from app.db.database import Database
from app.kernel.tenant import Tenant


async def growth(database: Database, tenant: Tenant, reading: Awaitable[object]) -> float:
    """By how many MB the backend of the only connection of `database` grew at most."""
    async with database.write_pipeline(tenant) as connection:
        row = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
    assert row
    if not psutil.pid_exists(row[0]):
        pytest.skip("Postgres is on another machine")
    backend = psutil.Process(row[0])
    before = largest = _own_memory(backend)

    async def watch() -> None:
        nonlocal largest
        while True:
            largest = max(largest, _own_memory(backend))
            await asyncio.sleep(0.005)

    watching = asyncio.create_task(watch())
    await reading
    watching.cancel()
    return (largest - before) / 2**20


def _own_memory(backend: psutil.Process) -> int:
    """In bytes, without what Postgres's processes share."""
    memory = backend.memory_info()
    return int(memory.rss - memory.shared)
