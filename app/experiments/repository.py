"""Experiments in SQL."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from sqlalchemy import BigInteger, Row, Table, any_, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.key_values import KeyValueTable
from app.db.tables.experiments import Experiment as ExperimentRow
from app.db.tables.experiments import ExperimentTag
from app.db.tables.runs import Run
from app.experiments.entities import Experiment
from app.kernel import validation
from app.kernel.tenant import Tenant

TAGS = KeyValueTable(
    table=cast(Table, ExperimentTag.__table__),
    owner_column="experiment_id",
    owner_name="An experiment",
    kind="tags",
    limit=validation.MAX_TAGS,
)

_EXPERIMENT = select(
    ExperimentRow.experiment_id,
    ExperimentRow.name,
    ExperimentRow.artifact_location,
    ExperimentRow.creation_time,
    ExperimentRow.last_update_time,
    ExperimentRow.deleted_time,
)


async def get(
    connection: AsyncConnection, tenant: Tenant, experiment_ids: Sequence[int]
) -> list[Experiment]:
    """The experiments of those ids that exist, in the order of the ids."""
    rows = await connection.execute(
        _EXPERIMENT.where(
            ExperimentRow.tenant_id == tenant.id,
            ExperimentRow.experiment_id == any_(literal(list(experiment_ids), ARRAY(BigInteger))),
        )
    )
    found = {one.experiment_id: one for one in await _whole(connection, tenant, rows)}
    return [found[one] for one in experiment_ids if one in found]


async def get_by_name(connection: AsyncConnection, tenant: Tenant, name: str) -> Experiment | None:
    rows = await connection.execute(
        _EXPERIMENT.where(ExperimentRow.tenant_id == tenant.id, ExperimentRow.name == name)
    )
    found = await _whole(connection, tenant, rows)
    return found[0] if found else None


async def lock(
    connection: AsyncConnection, tenant: Tenant, experiment_id: int, *, share: bool = False
) -> Row[str, int | None] | None:
    """Name and deleted_time of an experiment that stays as it is until the transaction ends."""
    rows = await connection.execute(
        select(ExperimentRow.name, ExperimentRow.deleted_time)
        .where(ExperimentRow.tenant_id == tenant.id, ExperimentRow.experiment_id == experiment_id)
        .with_for_update(read=share, key_share=not share)
    )
    return rows.one_or_none()


async def create(
    connection: AsyncConnection,
    tenant: Tenant,
    *,
    experiment_id: int,
    name: str,
    artifact_location: str | None,
    now: int,
) -> bool:
    """False where the name is taken, by an archived experiment too."""
    result = await connection.execute(
        upsert(ExperimentRow)
        .values(
            tenant_id=tenant.id,
            experiment_id=experiment_id,
            name=name,
            artifact_location=artifact_location,
            creation_time=now,
            last_update_time=now,
        )
        .on_conflict_do_nothing(index_elements=["tenant_id", "name"])
        .returning(ExperimentRow.experiment_id)
    )
    return result.first() is not None


async def change(
    connection: AsyncConnection, tenant: Tenant, experiment_id: int, **values: object
) -> None:
    """Raises IntegrityError where a new name is taken."""
    await connection.execute(
        update(ExperimentRow)
        .where(ExperimentRow.tenant_id == tenant.id, ExperimentRow.experiment_id == experiment_id)
        .values(**values)
    )


async def mark_runs(
    connection: AsyncConnection, tenant: Tenant, experiment_id: int, deleted_time: int | None
) -> None:
    """Delete or restore the runs of an experiment; those already so keep their time."""
    changed = Run.deleted_time.is_(None) if deleted_time else Run.deleted_time.is_not(None)
    mine = (Run.tenant_id == tenant.id) & (Run.experiment_id == experiment_id) & changed
    # Locked in the order in which the write path locks runs, so that neither deadlocks.
    locked = (
        select(Run.run_id).where(mine).order_by(Run.run_id).with_for_update(key_share=True)
    ).cte("locked")
    await connection.execute(
        update(Run)
        .where(Run.tenant_id == tenant.id, Run.run_id == locked.c.run_id)
        .values(deleted_time=deleted_time, version=Run.version + 1)
    )


async def _whole(
    connection: AsyncConnection, tenant: Tenant, rows: Iterable[Row[*tuple[Any, ...]]]
) -> list[Experiment]:
    """The experiments of those rows, with their tags."""
    experiments = [Experiment(**row._mapping) for row in rows]
    tags = await TAGS.read(connection, tenant, [one.experiment_id for one in experiments])
    for one in experiments:
        one.tags = tags[one.experiment_id]
    return experiments
