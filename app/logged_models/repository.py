"""Logged models in SQL."""

from collections.abc import Sequence

from sqlalchemy import (
    ColumnElement,
    and_,
    any_,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from app.db.key_values import KeyValueTable, text_array
from app.db.tables.base import table_of
from app.db.tables.experiments import Experiment
from app.db.tables.logged_models import LoggedModel as ModelRow
from app.db.tables.logged_models import LoggedModelMetric, LoggedModelParam, LoggedModelTag
from app.kernel import validation
from app.kernel.tenant import Tenant
from app.logged_models.entities import LoggedModel, ModelMetric

PARAMS = KeyValueTable(
    table=table_of(LoggedModelParam),
    owner_column="model_id",
    owner_name="A logged model",
    kind="params",
    limit=validation.MAX_PARAMS,
)
TAGS = KeyValueTable(
    table=table_of(LoggedModelTag),
    owner_column="model_id",
    owner_name="A logged model",
    kind="tags",
    limit=validation.MAX_TAGS,
)

CHILD_TABLES = [
    (table_of(model), "model_id") for model in (LoggedModelParam, LoggedModelTag, LoggedModelMetric)
]
"""Each with its column that holds the logged model's id."""


_MODELS = select(
    ModelRow.model_id,
    ModelRow.experiment_id,
    ModelRow.name,
    func.coalesce(ModelRow.model_type, "").label("model_type"),
    func.coalesce(ModelRow.source_run_id, "").label("source_run_id"),
    ModelRow.status,
    ModelRow.creation_time,
    ModelRow.last_updated_time,
    ModelRow.deleted_time,
    Experiment.artifact_location,
).join(
    Experiment,
    and_(
        Experiment.tenant_id == ModelRow.tenant_id,
        Experiment.experiment_id == ModelRow.experiment_id,
    ),
)


async def get(
    connection: AsyncConnection, tenant: Tenant, model_ids: Sequence[str]
) -> list[LoggedModel]:
    """The models of those ids that exist, deleted ones too, whole, in the order of the ids."""
    rows = await connection.execute(
        _MODELS.where(ModelRow.tenant_id == tenant.id, _one_of(ModelRow.model_id, model_ids))
    )
    found = {row.model_id: row._mapping for row in rows}
    params = await PARAMS.read(connection, tenant, list(found))
    tags = await TAGS.read(connection, tenant, list(found))
    models = {
        model_id: LoggedModel(**columns, params=params[model_id], tags=tags[model_id])
        for model_id, columns in found.items()
    }
    if models:
        for model_id, metric in await _metrics(connection, tenant, list(models)):
            models[model_id].metrics.append(metric)
    return [models[one] for one in model_ids if one in models]


async def _metrics(
    connection: AsyncConnection, tenant: Tenant, model_ids: Sequence[str]
) -> list[tuple[str, ModelMetric]]:
    point = LoggedModelMetric
    rows = await connection.execute(
        select(
            point.model_id,
            point.key,
            point.value,
            point.timestamp,
            point.step,
            point.run_id,
            point.dataset_name,
            point.dataset_digest,
        )
        .where(point.tenant_id == tenant.id, _one_of(point.model_id, model_ids))
        .order_by(point.model_id, point.key, point.timestamp, point.step, point.run_id)
    )
    return [(row.model_id, ModelMetric(*row[1:])) for row in rows]


async def create(connection: AsyncConnection, tenant: Tenant, **values: object) -> None:
    await connection.execute(insert(ModelRow).values(tenant_id=tenant.id, **values))


async def lock(connection: AsyncConnection, tenant: Tenant, model_id: str) -> bool:
    """Keep other writers from a model until the transaction ends; False where there is none."""
    rows = await connection.execute(
        select(ModelRow.model_id)
        .where(ModelRow.tenant_id == tenant.id, ModelRow.model_id == model_id)
        .with_for_update(key_share=True)
    )
    return rows.first() is not None


async def change(
    connection: AsyncConnection, tenant: Tenant, model_id: str, **values: object
) -> bool:
    """False where there is no such model."""
    rows = await connection.execute(
        update(ModelRow)
        .where(ModelRow.tenant_id == tenant.id, ModelRow.model_id == model_id)
        .values(**values)
        .returning(ModelRow.model_id)
    )
    return rows.first() is not None


def _one_of(column: InstrumentedAttribute[str], values: Sequence[str]) -> ColumnElement[bool]:
    return column == any_(text_array(values))
