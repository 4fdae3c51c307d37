"""How much a tenant's artifacts take."""

import psycopg

from app.artifacts import sql
from app.kernel.tenant import Tenant


async def used_bytes(connection: psycopg.AsyncConnection, tenant: Tenant) -> int:
    """The bytes of all artifacts of the tenant, as committed; a few index probes, however many
    artifacts there are. `connection` is one of `Database.pipeline`."""
    cursor = await connection.execute(sql.USED_BYTES, {"tenant": tenant.id})
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])
