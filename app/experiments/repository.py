"""Experiments in SQL."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from sqlalchemy import BigInteger, Row, Table, any_, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.key_values import KeyValueTable
from app.db.tables.experiments import Experiment as ExperimentRow
from app.db.tables.experiments import ExperimentTag
from app.experiments.entities import Experiment
from app.experiments.first_experiment import with_first_experiment
from app.kernel import validation
from app.kernel.errors import AlreadyExistsError
from app.kernel.tenant import Tenant
from app.search.page import Page

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
    """The experiments of those ids that exist, with their tags, in the order of the ids."""
    statement = _EXPERIMENT.where(
        ExperimentRow.tenant_id == tenant.id,
        ExperimentRow.experiment_id == any_(literal(list(experiment_ids), ARRAY(BigInteger))),
    )
    rows = await connection.execute(with_first_experiment(tenant, statement))
    experiments = await _with_tags(connection, tenant, rows)
    found = {experiment.experiment_id: experiment for experiment in experiments}
    return [found[id_] for id_ in experiment_ids if id_ in found]


async def get_by_name(connection: AsyncConnection, tenant: Tenant, name: str) -> Experiment | None:
    """The experiment of that name, active or deleted, with its tags."""
    statement = _EXPERIMENT.where(ExperimentRow.tenant_id == tenant.id, ExperimentRow.name == name)
    rows = await connection.execute(with_first_experiment(tenant, statement))
    found = await _with_tags(connection, tenant, rows)
    return found[0] if found else None


async def lock(
    connection: AsyncConnection, tenant: Tenant, experiment_id: int, *, share: bool = False
) -> Row[str, int | None] | None:
    """Lock an experiment until the transaction ends; returns its name and deleted_time.

    With `share`, the lock only keeps others from changing it. None where there is no such
    experiment.
    """
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
) -> None:
    """Raises AlreadyExistsError where an active or deleted experiment has the name."""
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
    if result.first() is None:
        raise name_taken(name)


async def change(
    connection: AsyncConnection, tenant: Tenant, experiment_id: int, **values: object
) -> None:
    """Set columns of an experiment."""
    await connection.execute(
        update(ExperimentRow)
        .where(ExperimentRow.tenant_id == tenant.id, ExperimentRow.experiment_id == experiment_id)
        .values(**values)
    )


async def rename(
    connection: AsyncConnection, tenant: Tenant, experiment_id: int, name: str, *, now: int
) -> None:
    """Raises AlreadyExistsError where another experiment, active or deleted, has the name."""
    try:
        await change(connection, tenant, experiment_id, last_update_time=now, name=name)
    except IntegrityError as error:
        raise name_taken(name) from error


async def count_matches(connection: AsyncConnection, page: Page) -> int:
    """The number of experiments on all pages of a search."""
    count: int = (await connection.execute(page.count)).scalar_one()
    return count


async def _with_tags(
    connection: AsyncConnection, tenant: Tenant, rows: Iterable[Row[*tuple[Any, ...]]]
) -> list[Experiment]:
    """The experiments of those rows, with their tags."""
    experiments = [Experiment(**row._mapping) for row in rows]
    ids = [experiment.experiment_id for experiment in experiments]
    tags = await TAGS.read(connection, tenant, ids)
    for experiment in experiments:
        experiment.tags = tags[experiment.experiment_id]
    return experiments


def name_taken(name: str) -> AlreadyExistsError:
    return AlreadyExistsError(f"Experiment(name={name}) already exists.", field="name")
