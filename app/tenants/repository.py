"""The directory of tenants, in SQL."""

from collections.abc import Mapping

from sqlalchemy import cast, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.tables.tenants import Tenant as TenantRow
from app.kernel.tenant import Tenant
from app.tenants.entities import Entry
from app.tenants.limits import Limits

_LIMITS = (
    TenantRow.requests_per_second,
    TenantRow.points_per_day,
    TenantRow.max_runs,
    TenantRow.max_artifact_bytes,
)


async def find(connection: AsyncConnection, slug: str) -> tuple[int, Limits] | None:
    """The id and the quotas of the tenant of that slug."""
    statement = select(TenantRow.id, *_LIMITS).where(TenantRow.slug == slug)
    row = (await connection.execute(statement)).first()
    return (row[0], Limits(*row[1:])) if row else None


async def create(connection: AsyncConnection, slug: str) -> int:
    """Make a tenant with its experiment 0. Raises IntegrityError where the slug is taken."""
    created: int = (await connection.execute(select(func.create_tenant(slug)))).scalar_one()
    return created


async def directory(
    connection: AsyncConnection,
    slug: str | None = None,
    *,
    tenant: Tenant | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> list[Entry]:
    """All tenants by slug, or the one of that slug, where it is `tenant`, if that is given."""
    statement = select(TenantRow.slug, TenantRow.description, TenantRow.created_at, *_LIMITS)
    statement = statement.order_by(TenantRow.slug).limit(limit).offset(offset)
    if slug is not None:
        statement = statement.where(TenantRow.slug == slug)
    if tenant is not None:
        statement = statement.where(TenantRow.id == tenant.id)
    return [
        Entry(slug, description, created_at, Limits(*limits))
        for slug, description, created_at, *limits in await connection.execute(statement)
    ]


async def tenants(connection: AsyncConnection) -> list[Tenant]:
    """Every tenant, by slug."""
    rows = await connection.execute(select(TenantRow.id, TenantRow.slug).order_by(TenantRow.slug))
    return [Tenant(*row) for row in rows]


async def count(connection: AsyncConnection) -> int:
    """How many tenants there are."""
    return (await connection.execute(select(func.count()).select_from(TenantRow))).scalar_one()


async def set_limits(
    connection: AsyncConnection, tenant: Tenant, changes: Mapping[str, int | None]
) -> None:
    """Set those quotas that are given, by the names of `Limits`; None lifts one."""
    await connection.execute(select(func.limit_tenant(tenant.slug, cast(changes, JSONB))))


async def describe(connection: AsyncConnection, slug: str, description: str) -> bool:
    """False where there is no such tenant."""
    found: bool = (
        await connection.execute(select(func.describe_tenant(slug, description)))
    ).scalar_one()
    return found


async def delete(connection: AsyncConnection, slug: str, *, cascade: bool) -> str | None:
    """Delete a tenant with all its rows; without `cascade`, only one that holds nothing.

    Returns None once it is gone, `absent` where there was none, and otherwise what it still
    holds: a table and a number, as `runs: 3`.
    """
    obstacle: str | None = (
        await connection.execute(select(func.delete_tenant(slug, cascade)))
    ).scalar_one()
    return obstacle
