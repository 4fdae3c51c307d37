"""The directory of tenants, in SQL."""

from collections.abc import Sequence

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.tenancy.models import Tenant as TenantRow


async def find(connection: AsyncConnection, slug: str) -> int | None:
    """The id of the tenant of that slug."""
    found: int | None = await connection.scalar(select(TenantRow.id).where(TenantRow.slug == slug))
    return found


async def create(connection: AsyncConnection, slug: str) -> int:
    """Make a tenant with its experiment 0. Raises IntegrityError where the slug is taken."""
    created: int = (await connection.execute(select(func.create_tenant(slug)))).scalar_one()
    return created


async def directory(
    connection: AsyncConnection, slug: str | None = None
) -> Sequence[Row[str, str | None]]:
    """Slugs and descriptions, of all tenants or of the one of that slug."""
    statement = select(TenantRow.slug, TenantRow.description).order_by(TenantRow.slug)
    if slug is not None:
        statement = statement.where(TenantRow.slug == slug)
    return (await connection.execute(statement)).all()


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
