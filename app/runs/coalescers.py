"""What requests for runs do together: being created, and being looked up.

Writes to runs have a queue of their own, in `app.runs.batch_writer`.
"""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from app.db.coalescer import Coalescer
from app.db.database import Database
from app.kernel.errors import TrackingError
from app.kernel.tenant import Tenant
from app.runs import sql
from app.runs.entities import Run
from app.tenants.quotas import Quotas

ExperimentOfRun = tuple[str | None, int | None]
"""An experiment's artifact_location and deleted_time."""

MAX_CREATED = 200
MAX_LOOKED_UP = 1_000
MAX_WAITING = 20_000


def creation_queue(database: Database, quotas: Quotas) -> Coalescer[Run, ExperimentOfRun | None]:
    """Inserts runs with their params and tags.

    Answers with the experiment of the run, where a deleted_time means that nothing was inserted;
    None where there is no such experiment. Raises QuotaExceededError for a run too many.
    """
    return Coalescer(
        partial(_create, database, quotas), max_batch=MAX_CREATED, max_waiting=MAX_WAITING
    )


def version_queue(database: Database) -> Coalescer[UUID, int | None]:
    """Reads the versions of runs; None for one that does not exist."""
    return Coalescer(
        partial(_read_versions, database), max_batch=MAX_LOOKED_UP, max_waiting=MAX_WAITING
    )


async def _create(
    database: Database, quotas: Quotas, tenant: Tenant, asked: Sequence[Run]
) -> list[ExperimentOfRun | TrackingError | None]:
    async with database.write_pipeline(tenant) as connection:
        room = await quotas.remaining_runs(connection, tenant)
        runs = asked[:room]
        cursor = await connection.execute(sql.CREATE_RUNS, _columns(tenant, runs))
    experiments = {number: (place, deleted) for number, place, deleted in await cursor.fetchall()}
    created: list[ExperimentOfRun | TrackingError | None] = [
        experiments.get(run.experiment_id) for run in runs
    ]
    return created + [quotas.runs_exceeded(tenant)] * (len(asked) - len(runs))


def _columns(tenant: Tenant, runs: Sequence[Run]) -> dict[str, object]:
    params = [(run.run_id, *param) for run in runs for param in run.params.items()]
    tags = [(run.run_id, *tag) for run in runs for tag in run.tags.items()]
    return {
        "tenant": tenant.id,
        "runs": [run.run_id for run in runs],
        "experiments": [run.experiment_id for run in runs],
        "names": [run.name for run in runs],
        "users": [run.user_id for run in runs],
        "start_times": [run.start_time for run in runs],
        "param_runs": [run_id for run_id, _, _ in params],
        "param_keys": [key for _, key, _ in params],
        "param_values": [value for _, _, value in params],
        "tag_runs": [run_id for run_id, _, _ in tags],
        "tag_keys": [key for _, key, _ in tags],
        "tag_values": [value for _, _, value in tags],
    }


async def _read_versions(
    database: Database, tenant: Tenant, run_ids: Sequence[UUID]
) -> list[int | None]:
    async with database.read_pipeline(tenant) as connection:
        cursor = await connection.execute(
            sql.READ_VERSIONS, {"tenant": tenant.id, "runs": list(run_ids)}
        )
    versions: dict[UUID, int] = dict(await cursor.fetchall())
    return [versions.get(run_id) for run_id in run_ids]
