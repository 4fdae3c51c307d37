"""Statements on the table of tenants, which is outside row-level security."""

from collections.abc import Mapping

from sqlalchemy import cast, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.tables.tenants import Tenant as TenantRow
from app.kernel.tenant import Tenant
from app.tenants.entities import Limits, TenantDetails

_LIMITS = (
    TenantRow.requests_per_second,
    TenantRow.points_per_day,
    TenantRow.max_runs,
    TenantRow.max_artifact_bytes,
)


async def find(connection: AsyncConnection, slug: str) -> tuple[int, Limits] | None:
    """The id and the quotas of the tenant with that slug; None if there is none."""
    statement = select(TenantRow.id, *_LIMITS).where(TenantRow.slug == slug)
    row = (await connection.execute(statement)).first()
    return (row[0], Limits(*row[1:])) if row else None


async def create(connection: AsyncConnection, slug: str) -> int:
    """Create a tenant with its experiment 0; returns its id.

    The transaction is that tenant's afterwards. Raises IntegrityError for a slug that is taken.
    """
    tenant_id: int = (await connection.execute(select(func.create_tenant(slug)))).scalar_one()
    return tenant_id


async def list_details(
    connection: AsyncConnection,
    slug: str | None = None,
    *,
    tenant: Tenant | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> list[TenantDetails]:
    """Tenants in the order of their slugs: all, or those with the given slug and id."""
    columns = (TenantRow.id, TenantRow.slug, TenantRow.description, TenantRow.created_at)
    statement = select(*columns, *_LIMITS)
    statement = statement.order_by(TenantRow.slug).limit(limit).offset(offset)
    if slug is not None:
        statement = statement.where(TenantRow.slug == slug)
    if tenant is not None:
        statement = statement.where(TenantRow.id == tenant.id)
    return [
        TenantDetails(tenant_id, slug, description, created_at, Limits(*limits))
        for tenant_id, slug, description, created_at, *limits in await connection.execute(statement)
    ]


async def list_tenants(connection: AsyncConnection) -> list[Tenant]:
    """All tenants, in the order of their slugs."""
    rows = await connection.execute(select(TenantRow.id, TenantRow.slug).order_by(TenantRow.slug))
    return [Tenant(*row) for row in rows]


async def count(connection: AsyncConnection) -> int:
    """The number of tenants."""
    return (await connection.execute(select(func.count()).select_from(TenantRow))).scalar_one()


async def set_limits(
    connection: AsyncConnection, tenant: Tenant, changes: Mapping[str, int | None]
) -> None:
    """Set the given quotas, by the names of `Limits`; None removes one."""
    await connection.execute(select(func.limit_tenant(tenant.slug, cast(changes, JSONB))))


async def describe(connection: AsyncConnection, slug: str, description: str) -> bool:
    """Set a tenant's description; False if there is no such tenant."""
    found: bool = (
        await connection.execute(select(func.describe_tenant(slug, description)))
    ).scalar_one()
    return found


async def delete(connection: AsyncConnection, slug: str, *, cascade: bool) -> str | None:
    """Delete a tenant with all its rows; without `cascade`, only one that has none.

    Returns None if it was deleted, `absent` if there is none, and otherwise a table that has rows
    of it with their number, as `runs: 3`.
    """
    obstacle: str | None = (
        await connection.execute(select(func.delete_tenant(slug, cascade)))
    ).scalar_one()
    return obstacle
