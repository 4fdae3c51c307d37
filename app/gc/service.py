"""Garbage collection of one tenant at a time, as the application role."""

from dataclasses import dataclass

from app.artifacts.service import Artifacts
from app.artifacts.stores.contract import ArtifactStore
from app.db.database import Database
from app.gc.archived import Archive
from app.gc.orphans import Orphans
from app.gc.report import Progress, Report, no_progress
from app.kernel.clock import now_ms
from app.kernel.tenant import NO_TENANT, Tenant, is_slug
from app.tenants import repository


@dataclass(frozen=True, slots=True)
class Policy:
    """What is deleted. Times are in milliseconds.

    `retention` is how long archived runs, models and experiments are kept; None for ever. `grace`
    is how old an object without a row, or an upload without progress, has to be; it must be longer
    than any running upload takes. Without `delete`, everything is only counted.
    """

    delete: bool = False
    retention: int | None = None
    grace: int = 24 * 3600 * 1000


class GarbageCollector:
    """May run beside servers and beside other collectors, and may be killed at any point."""

    def __init__(self, database: Database, store: ArtifactStore) -> None:
        self._database = database
        self._store = store
        self._artifacts = Artifacts(database, store)

    async def tenants(self) -> list[Tenant]:
        """Every tenant, by slug."""
        async with self._database.without_tenant() as connection:
            return await repository.list_tenants(connection)

    async def gone(self) -> list[Tenant]:
        """Folders or buckets of the store that belong to no tenant: those of deleted tenants, and
        buckets of another deployment whose names start with this one's prefix."""
        known = {tenant.slug for tenant in await self.tenants()}
        found = {slug for slug in await self._store.tenants() if is_slug(slug)}
        return [Tenant(NO_TENANT.id, slug) for slug in sorted(found - known)]

    async def tenant(self, slug: str) -> Tenant:
        """The tenant of that slug; for a deleted one, a tenant that owns no rows."""
        async with self._database.without_tenant() as connection:
            found = await repository.find(connection, slug)
        return Tenant(found[0] if found else NO_TENANT.id, slug)

    async def collect(
        self, tenant: Tenant, policy: Policy, progress: Progress = no_progress
    ) -> Report:
        """Deletes a tenant's garbage, or only counts it.

        Raises UnavailableError where the database or the store does not answer, InvalidStateError
        where the store has none of the tenant's files. Deletions before the error are not undone.
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
            await orphans.delete_expired_reservations()
        return report
