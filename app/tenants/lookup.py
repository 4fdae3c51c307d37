"""Which tenants there are, and what each may use; looked up once in a few seconds."""

import time

from sqlalchemy.exc import IntegrityError

from app.audit import trail
from app.db.database import Database
from app.kernel.errors import TenantNotFoundError
from app.kernel.tenant import Tenant
from app.tenants import repository
from app.tenants.limits import Limits

# How long a worker trusts what it found: a tenant that another worker deleted, a key that it
# revoked or a quota that it changed is known by then.
KNOWN_SECONDS = 5.0


class TenantLookup:
    """Turns a slug into a tenant, and makes tenants.

    `creates` tells whether an unknown one springs into being on its first write.
    """

    def __init__(self, database: Database, *, creates: bool) -> None:
        self._database = database
        self._creates = creates
        self._known: dict[str, tuple[Tenant, float]] = {}
        self._limits: dict[int, Limits] = {}

    async def resolve(self, slug: str, *, create: bool = False) -> Tenant:
        """The tenant of that slug. An unknown one, where tenants are made on the fly, is nobody
        yet, and sees nobody's data, unless it is to be created.

        Raises NotFoundError for an unknown one where they are not.
        """
        known = self.known(slug)
        return known if known is not None else await self.current(slug, create=create)

    def known(self, slug: str) -> Tenant | None:
        """The tenant of that slug, where it was looked up lately."""
        known, until = self._known.get(slug, (None, 0.0))
        return known if time.monotonic() < until else None

    async def current(self, slug: str, *, create: bool = False) -> Tenant:
        """`resolve`, from the database and not from what is remembered: the tenant that has the
        slug now, whoever had it moments ago."""
        async with self._database.directory() as connection:
            found = await repository.find(connection, slug)
        if found is None:
            self.forget(slug)
            if not self._creates:
                raise TenantNotFoundError(slug)
            if not create:
                return Tenant(0, slug)
            found = await self._create(slug), Limits()
        tenant = Tenant(found[0], slug)
        self.remember(tenant, found[1])
        return tenant

    async def made(self, tenant: Tenant) -> Tenant:
        """The tenant itself; one that is nobody yet is created."""
        return tenant if tenant.id else await self.resolve(tenant.slug, create=True)

    async def existing(self, slug: str) -> Tenant:
        """The tenant that has the slug now. Raises NotFoundError for a slug that is no tenant's,
        wherever tenants come from."""
        tenant = await self.current(slug)
        if tenant.id == 0:
            raise TenantNotFoundError(slug)
        return tenant

    def limits(self, tenant: Tenant) -> Limits | None:
        """The quotas of a tenant that was resolved lately; None where it has none."""
        return self._limits.get(tenant.id)

    def forget(self, slug: str) -> None:
        """Look the tenant up again when it is next named."""
        self._known.pop(slug, None)

    def gone(self, tenant: Tenant) -> None:
        """Know nothing of a tenant that was deleted."""
        self.forget(tenant.slug)
        self._limits.pop(tenant.id, None)

    def remember(self, tenant: Tenant, limits: Limits) -> None:
        """Trust for a while what was just found in the database."""
        self._known[tenant.slug] = (tenant, time.monotonic() + KNOWN_SECONDS)
        if limits == Limits():
            self._limits.pop(tenant.id, None)
        else:
            self._limits[tenant.id] = limits

    async def _create(self, slug: str) -> int:
        try:
            async with self._database.directory() as connection:
                created = Tenant(await repository.create(connection, slug), slug)
                await trail.record(connection, created, "tenant.create", slug, unasked=True)
                return created.id
        except IntegrityError:
            # Another request made it first.
            async with self._database.directory() as connection:
                found = await repository.find(connection, slug)
                assert found is not None
                return found[0]
