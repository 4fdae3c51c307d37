"""Garbage collection, tenant by tenant, as the application role."""

from dataclasses import dataclass

from app.artifacts.service import Artifacts
from app.artifacts.stores.contract import ArtifactStore
from app.db.database import Database
from app.gc.archived import Archive
from app.gc.orphans import Orphans
from app.gc.report import Progress, Report, unseen
from app.kernel.clock import now_ms
from app.kernel.tenant import NO_TENANT, Tenant, is_slug
from app.tenants import repository


@dataclass(frozen=True, slots=True)
class Policy:
    """What goes. Times are milliseconds.

    `retention` is how long what is archived stays; None: for ever. `grace` is how old an object
    without a row must be, or an upload without progress: no upload that is under way may look like
    one that was left behind. Without `delete` everything is only counted.
    """

    delete: bool = False
    retention: int | None = None
    grace: int = 24 * 3600 * 1000


class GarbageCollector:
    """Safe to run beside servers and beside itself, and to kill at any point."""

    def __init__(self, database: Database, store: ArtifactStore) -> None:
        self._database = database
        self._store = store
        self._artifacts = Artifacts(database, store)

    async def tenants(self) -> list[Tenant]:
        """Every tenant, by slug."""
        async with self._database.without_tenant() as connection:
            return await repository.list_tenants(connection)

    async def gone(self) -> list[Tenant]:
        """What the store has a place for and is no tenant's: a tenant that was deleted, or
        somebody else's bucket whose name starts like ours."""
        known = {tenant.slug for tenant in await self.tenants()}
        found = {slug for slug in await self._store.tenants() if is_slug(slug)}
        return [Tenant(NO_TENANT.id, slug) for slug in sorted(found - known)]

    async def tenant(self, slug: str) -> Tenant:
        """The tenant of that slug; one that owns no row where it is no tenant's any more."""
        async with self._database.without_tenant() as connection:
            found = await repository.find(connection, slug)
        return Tenant(found[0] if found else NO_TENANT.id, slug)

    async def collect(self, tenant: Tenant, policy: Policy, progress: Progress = unseen) -> Report:
        """Remove a tenant's garbage, or only count it.

        Raises UnavailableError where the database or the store does not answer, InvalidStateError
        where the store has none of the tenant's files; what was removed until then stays so.
        """
        report = Report()
        archive = Archive(self._database, self._artifacts, tenant, report, progress)
        now = now_ms()
        cutoff = None if policy.retention is None else now - policy.retention
        if policy.delete:
            if cutoff is not None:
                await archive.purge(cutoff)
            await archive.delete_points()
            await archive.delete_files()
        else:
            if cutoff is not None:
                await archive.count(cutoff)
            await archive.count_files(cutoff)
        orphans = Orphans(self._database, self._store, self._artifacts, tenant, report, progress)
        await orphans.sweep_uploads(now - policy.grace, delete=policy.delete)
        await orphans.sweep_objects(now - policy.grace, delete=policy.delete)
        if policy.delete:
            await orphans.forget_reservations()
        return report
