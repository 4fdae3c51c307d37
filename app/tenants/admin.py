"""Lists and creates tenants for the command line, whose errors speak of tenants, not workspaces."""

from sqlalchemy.exc import IntegrityError

from app.audit import trail
from app.db.database import Database
from app.kernel.errors import AlreadyExistsError, InvalidValueError
from app.kernel.tenant import Tenant, is_slug
from app.tenants import repository
from app.tenants.entities import TenantDetails


async def list_tenants(database: Database) -> list[TenantDetails]:
    """All tenants, in the order of their slugs."""
    async with database.without_tenant() as connection:
        return await repository.list_details(connection)


async def create_tenant(database: Database, slug: str) -> Tenant:
    """Create a tenant with its experiment 0.

    Raises InvalidValueError for a malformed slug, AlreadyExistsError for one that is taken.
    """
    if not is_slug(slug):
        raise InvalidValueError(
            f"'{slug}' is no tenant slug: 1 to 48 lower-case letters, digits and hyphens,"
            " with no hyphen first or last",
            field="slug",
        )
    try:
        async with database.without_tenant() as connection:
            tenant = Tenant(await repository.create(connection, slug), slug)
            await trail.record(connection, tenant, "tenant.create", slug)
    except IntegrityError:
        raise AlreadyExistsError(f"tenant '{slug}' exists already", field="slug") from None
    return tenant
