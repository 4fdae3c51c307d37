"""The services of one worker, built once and handed to both APIs."""

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
from app.kernel.sharing import Sharing
from app.logged_models.service import LoggedModels
from app.metrics.service import Metrics
from app.registry.model_versions import ModelVersions
from app.registry.registered_models import RegisteredModels
from app.runs.batch_writer import write_queue
from app.runs.entities import RunWrite
from app.runs.inputs import Inputs
from app.runs.service import Runs
from app.tenants.lookup import TenantLookup
from app.tenants.quotas import Quotas
from app.tenants.service import Tenants

if TYPE_CHECKING:
    from app.auth.jwt_tokens import JwtVerifier


@dataclass(frozen=True)
class Services:
    settings: Settings
    sharing: Sharing
    database: Database
    authenticator: Authenticator
    tenant_lookup: TenantLookup
    keys: ApiKeys
    quotas: Quotas
    tenants: Tenants
    experiments: Experiments
    runs: Runs
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
    def build(cls, settings: Settings) -> "Services":
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
        authenticator = Authenticator(settings, tenant_lookup, keys, quotas, _tokens(settings))
        queue = write_queue(database)
        sharing = Sharing()
        return cls(
            settings=settings,
            sharing=sharing,
            database=database,
            authenticator=authenticator,
            tenant_lookup=tenant_lookup,
            keys=keys,
            quotas=quotas,
            tenants=Tenants(
                database,
                tenant_lookup,
                artifacts,
                uploads,
                settings.implied_tenant,
                forget=(tenant_lookup.gone, authenticator.forget, slots.forget),
            ),
            experiments=Experiments(database, sharing, tenant_tag=tag),
            runs=Runs(
                database,
                queue,
                quotas,
                sharing,
                tenant_tag=tag,
                search_timeout_seconds=settings.search_timeout_seconds,
            ),
            metrics=Metrics(database),
            inputs=Inputs(database),
            models=LoggedModels(database, sharing),
            registered_models=RegisteredModels(database, sharing),
            model_versions=ModelVersions(database, sharing),
            artifacts=artifacts,
            uploads=uploads,
            write_queue=queue,
            audit=AuditLog(database),
        )

    async def close(self) -> None:
        await self.artifacts.close()
        await self.database.close()


def _tokens(settings: Settings) -> "JwtVerifier | None":
    if not settings.jwt_jwks:
        return None
    # Who has no identity provider does not pay for importing cryptography.
    from app.auth.jwt_tokens import JwksCache, JwtVerifier

    return JwtVerifier(settings, JwksCache(settings.jwt_jwks))
