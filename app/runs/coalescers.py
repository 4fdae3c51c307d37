"""Group commit of new runs, and batched look-ups of run versions.

Writes to existing runs go through `app.runs.batch_writer`.
"""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from app.db.coalescer import Coalescer
from app.db.database import Database
from app.kernel.errors import TrackingError
from app.kernel.tenant import Tenant
from app.runs import repository
from app.runs.entities import Run
from app.tenants.quotas import Quotas

ExperimentOfRun = tuple[str | None, int | None]
"""An experiment's artifact_location and deleted_time."""

MAX_CREATED = 200
MAX_LOOKED_UP = 1_000
MAX_WAITING = 20_000


def creation_queue(database: Database, quotas: Quotas) -> Coalescer[Run, ExperimentOfRun | None]:
    """Inserts runs with their params and tags.

    `submit` returns the run's experiment, or None where there is no such experiment. A run of a
    deleted experiment is not inserted. Raises QuotaExceededError where the tenant has all the runs
    that it may have.
    """
    return Coalescer(
        partial(_create, database, quotas), max_batch=MAX_CREATED, max_waiting=MAX_WAITING
    )


def version_queue(database: Database) -> Coalescer[UUID, int | None]:
    """Reads the versions of runs; None for a run that does not exist."""
    return Coalescer(
        partial(_read_versions, database), max_batch=MAX_LOOKED_UP, max_waiting=MAX_WAITING
    )


async def _create(
    database: Database, quotas: Quotas, tenant: Tenant, batch: Sequence[Run]
) -> list[ExperimentOfRun | TrackingError | None]:
    async with database.write_pipeline(tenant) as connection:
        room = await quotas.remaining_runs(connection, tenant)
        runs = batch[:room]
        cursor = await repository.create(connection, tenant, runs)
    experiments = {number: (place, deleted) for number, place, deleted in await cursor.fetchall()}
    created: list[ExperimentOfRun | TrackingError | None] = [
        experiments.get(run.experiment_id) for run in runs
    ]
    return created + [quotas.runs_exceeded(tenant)] * (len(batch) - len(runs))


async def _read_versions(
    database: Database, tenant: Tenant, run_ids: Sequence[UUID]
) -> list[int | None]:
    async with database.read_pipeline(tenant) as connection:
        cursor = await repository.find_versions(connection, tenant, run_ids)
    versions: dict[UUID, int] = dict(await cursor.fetchall())
    return [versions.get(run_id) for run_id in run_ids]
