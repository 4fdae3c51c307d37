"""The directory of tenants, in SQL."""

from sqlalchemy import func, select
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
