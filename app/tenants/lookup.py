"""Tenant lookup: finds tenants and their quotas by slug, with a cache in each worker."""

from sqlalchemy.exc import IntegrityError

from app.audit import trail
from app.db.database import Database
from app.kernel.cache import TtlCache
from app.kernel.errors import ExperimentNotFoundError, TenantNotFoundError
from app.kernel.ids import FIRST_EXPERIMENT_ID
from app.kernel.tenant import Tenant
from app.tenants import repository
from app.tenants.entities import Limits

# How long a worker trusts what it has cached. Within this time a change in another worker takes
# effect in this one: a tenant deleted, a key revoked, a quota changed.
CACHE_SECONDS = 5.0
MAX_CACHED = 10_000


class TenantLookup:
    """Finds tenants by slug, and creates them.

    With `creates`, an unknown tenant is created by its first write; otherwise it is not found.
    """

    def __init__(self, database: Database, *, creates: bool) -> None:
        self._database = database
        self._creates = creates
        self._cache: TtlCache[str, Tenant] = TtlCache(MAX_CACHED)
        # Without expiry, so that a quota applies to every request of a caller that is cached.
        self._limits: dict[int, Limits] = {}

    async def resolve(self, slug: str, *, create: bool = False) -> Tenant:
        """The tenant with that slug, cached or from the database.

        Where unknown tenants are created, one that does not exist is created if `create` is set;
        otherwise it is returned with id 0, as which no rows are seen. Where they are not, raises
        TenantNotFoundError.
        """
        cached = self._cache.get(slug)
        return cached if cached is not None else await self.refresh(slug, create=create)

    def cached(self, slug: str) -> Tenant | None:
        """The tenant with that slug; None if it is not cached."""
        return self._cache.get(slug)

    async def refresh(self, slug: str, *, create: bool = False) -> Tenant:
        """`resolve` without the cache: the tenant that has the slug in the database now."""
        async with self._database.without_tenant() as connection:
            found = await repository.find(connection, slug)
        if found is None:
            self.invalidate(slug)
            if not self._creates:
                raise TenantNotFoundError(slug)
            if not create:
                return Tenant(0, slug)
            found = await self._create(slug), Limits()
        tenant = Tenant(found[0], slug)
        self.store(tenant, found[1])
        return tenant

    async def ensure_created(self, tenant: Tenant) -> Tenant:
        """The tenant itself, or the one that is created for id 0."""
        return tenant if tenant.id else await self.resolve(tenant.slug, create=True)

    async def ensure_experiment(self, tenant: Tenant, number: int) -> Tenant:
        """The tenant itself; for id 0, the one that is created to write to an experiment of it.

        A tenant begins with experiment 0. Raises ExperimentNotFoundError for any other of a tenant
        with id 0, which is not created then.
        """
        if tenant.id:
            return tenant
        if number != FIRST_EXPERIMENT_ID:
            raise ExperimentNotFoundError(str(number))
        return await self.ensure_created(tenant)

    async def require(self, slug: str) -> Tenant:
        """The tenant that has the slug in the database now.

        Raises TenantNotFoundError if there is none, also where unknown tenants are created.
        """
        tenant = await self.refresh(slug)
        if tenant.id == 0:
            raise TenantNotFoundError(slug)
        return tenant

    def limits(self, tenant: Tenant) -> Limits | None:
        """The quotas of a tenant that this worker has looked up; None if it has none."""
        return self._limits.get(tenant.id)

    def invalidate(self, slug: str) -> None:
        """Remove a slug from the cache."""
        self._cache.discard(slug)

    def forget(self, tenant: Tenant) -> None:
        """Remove a deleted tenant and its quotas."""
        self.invalidate(tenant.slug)
        self._limits.pop(tenant.id, None)

    def store(self, tenant: Tenant, limits: Limits) -> None:
        """Cache a tenant that was just read from the database, with its quotas."""
        self._cache.put(tenant.slug, tenant, CACHE_SECONDS)
        if limits == Limits():
            self._limits.pop(tenant.id, None)
        else:
            self._limits[tenant.id] = limits

    async def _create(self, slug: str) -> int:
        try:
            async with self._database.without_tenant() as connection:
                tenant = Tenant(await repository.create(connection, slug), slug)
                await trail.record(connection, tenant, "tenant.create", slug, unasked=True)
                return tenant.id
        except IntegrityError:
            # A concurrent request has created it.
            async with self._database.without_tenant() as connection:
                found = await repository.find(connection, slug)
                assert found is not None
                return found[0]
