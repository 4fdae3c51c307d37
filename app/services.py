"""Composition root: builds the services of one worker, which both APIs use."""

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.artifacts.multipart_uploads import Uploads
from app.artifacts.service import Artifacts
from app.artifacts.stores.factory import artifact_store
from app.artifacts.transfer_limits import TransferSlots
from app.audit.log_reader import AuditLog
from app.auth.api_keys import ApiKeys
from app.auth.authenticator import Authenticator
from app.config import Settings
from app.db.coalescer import Coalescer
from app.db.database import Database
from app.experiments.service import Experiments
from app.kernel.errors import NotFoundError
from app.kernel.event_loop_turns import EventLoopTurns
from app.kernel.memory_budget import MemoryBudget
from app.kernel.tenant import Tenant
from app.logged_models.service import LoggedModels
from app.metrics.service import Metrics
from app.observability.monitor import ServiceStatistics
from app.registry.model_versions import ModelVersions
from app.registry.registered_models import RegisteredModels
from app.runs.batch_writer import write_queue
from app.runs.entities import RunWrite
from app.runs.inputs import Inputs
from app.runs.reader import RunReader
from app.runs.rendering import RenderCache
from app.runs.search_service import RunSearch
from app.runs.service import Runs
from app.tenants.lookup import TenantLookup
from app.tenants.quotas import Quotas
from app.tenants.service import Tenants

if TYPE_CHECKING:
    from app.auth.jwt_verifier import JwtVerifier


@dataclass(frozen=True)
class StoredTenantFiles:
    """`TenantFiles` of the tenant service, by the artifact services."""

    artifacts: Artifacts
    uploads: Uploads

    async def delete_all(self, tenant: Tenant) -> None:
        with suppress(NotFoundError):
            await self.artifacts.delete(tenant, "experiments")

    async def abandon_uploads(self, tenant: Tenant) -> None:
        await self.uploads.abandon(tenant)


@dataclass(frozen=True)
class Services:
    """The services, wired by `build` from the settings."""

    settings: Settings
    memory: MemoryBudget
    turns: EventLoopTurns
    database: Database
    authenticator: Authenticator
    tenant_lookup: TenantLookup
    keys: ApiKeys
    quotas: Quotas
    tenants: Tenants
    experiments: Experiments
    runs: Runs
    run_search: RunSearch
    metrics: Metrics
    inputs: Inputs
    models: LoggedModels
    registered_models: RegisteredModels
    model_versions: ModelVersions
    artifacts: Artifacts
    uploads: Uploads
    write_queue: Coalescer[RunWrite, None]
    audit: AuditLog

    @classmethod
    def build(cls, settings: Settings, rendered_runs: RenderCache) -> "Services":
        """Wire the services. Raises ValueError if the settings name no database."""
        if settings.database_url is None:
            raise ValueError("TRACKING_DATABASE_URL is not set; `tracking serve` sets it")
        database = Database(
            settings.database_url,
            pool_size=settings.database_pool_size,
            statement_timeout=settings.statement_timeout_seconds,
        )
        tag = settings.tenant_tag
        tenant_lookup = TenantLookup(database, creates=settings.creates_tenants)
        quotas = Quotas(database, tenant_lookup, workers=settings.workers)
        keys = ApiKeys(database)
        store = artifact_store(settings)
        slots = TransferSlots(settings.tenant_transfers)
        artifacts = Artifacts(database, store, quotas, slots)
        uploads = Uploads(artifacts, store, slots)
        authenticator = Authenticator(
            settings, tenant_lookup, keys, quotas, _jwt_verifier(settings)
        )
        queue = write_queue(database)
        memory, turns = MemoryBudget(), EventLoopTurns()
        reader = RunReader(database, memory, turns, rendered_runs, tenant_tag=tag)
        return cls(
            settings=settings,
            memory=memory,
            turns=turns,
            database=database,
            authenticator=authenticator,
            tenant_lookup=tenant_lookup,
            keys=keys,
            quotas=quotas,
            tenants=Tenants(
                database,
                tenant_lookup,
                StoredTenantFiles(artifacts, uploads),
                settings.implied_tenant,
                on_delete=(tenant_lookup.forget, authenticator.forget, slots.forget),
            ),
            experiments=Experiments(database, memory, tenant_lookup, tenant_tag=tag),
            runs=Runs(
                database,
                queue,
                quotas,
                tenant_lookup,
                reader,
                max_value_length=settings.max_value_length,
            ),
            run_search=RunSearch(
                database,
                reader,
                turns,
                tenant_tag=tag,
                timeout_seconds=settings.search_timeout_seconds,
            ),
            metrics=Metrics(database),
            inputs=Inputs(database),
            models=LoggedModels(database, memory, tenant_lookup),
            registered_models=RegisteredModels(database, memory, tenant_lookup),
            model_versions=ModelVersions(database, memory),
            artifacts=artifacts,
            uploads=uploads,
            write_queue=queue,
            audit=AuditLog(database),
        )

    def statistics(self) -> ServiceStatistics:
        """What /metrics shows of the services."""
        queue, pool = self.write_queue.statistics(), self.database.pool_statistics()
        return ServiceStatistics(
            counters={"flush_failures": queue.failures},
            gauges={
                "held_bytes": self.memory.held,
                "waiting_writes": queue.waiting_requests,
                "waiting_items": queue.waiting_items,
                "pool_size": pool.size,
                "pool_in_use": pool.in_use,
                "pool_waiting": pool.waiting,
            },
            histograms={
                "flush_items": queue.batch_items,
                "flush_seconds": queue.batch_seconds,
            },
        )

    async def close(self) -> None:
        """Close the store and the connections."""
        await self.artifacts.close()
        await self.database.close()


def _jwt_verifier(settings: Settings) -> "JwtVerifier | None":
    if not settings.jwt_jwks:
        return None
    # Imported here, so that a service without an identity provider does not load cryptography.
    from app.auth.jwks_cache import JwksCache
    from app.auth.jwt_verifier import JwtVerifier

    return JwtVerifier(settings, JwksCache(settings.jwt_jwks))
