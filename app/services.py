"""The services of one worker, built once and handed to both APIs."""

from dataclasses import dataclass

from app.artifacts.limits import TransferSlots
from app.artifacts.service import Artifacts
from app.artifacts.store import artifact_store
from app.artifacts.uploads import Uploads
from app.config import Settings
from app.db.database import Database
from app.experiments.service import Experiments
from app.metrics.service import Metrics
from app.models.service import LoggedModels
from app.registry.service import RegisteredModels
from app.registry.versions import ModelVersions
from app.runs.inputs import Inputs
from app.runs.service import Runs
from app.runs.write_queue import WriteQueue
from app.tenancy.directory import Directory
from app.tenancy.service import Tenants


@dataclass(frozen=True)
class Services:
    settings: Settings
    database: Database
    tenants: Tenants
    directory: Directory
    experiments: Experiments
    runs: Runs
    metrics: Metrics
    inputs: Inputs
    models: LoggedModels
    registered_models: RegisteredModels
    model_versions: ModelVersions
    artifacts: Artifacts
    uploads: Uploads

    @classmethod
    def build(cls, settings: Settings) -> "Services":
        if settings.database_url is None:
            raise ValueError("TRACKING_DATABASE_URL is not set; `tracking serve` sets it")
        database = Database(settings.database_url, pool_size=settings.database_pool_size)
        tag = settings.tenant_tag
        tenants = Tenants(database, settings)
        store = artifact_store(settings)
        slots = TransferSlots(settings.tenant_transfers)
        artifacts = Artifacts(database, store, slots)
        return cls(
            settings=settings,
            database=database,
            tenants=tenants,
            directory=Directory(database, tenants, artifacts, settings.default_tenant),
            experiments=Experiments(database, tenant_tag=tag),
            runs=Runs(database, WriteQueue(database), tenant_tag=tag),
            metrics=Metrics(database),
            inputs=Inputs(database),
            models=LoggedModels(database),
            registered_models=RegisteredModels(database),
            model_versions=ModelVersions(database),
            artifacts=artifacts,
            uploads=Uploads(artifacts, store, slots),
        )

    async def close(self) -> None:
        await self.artifacts.close()
        await self.database.close()
