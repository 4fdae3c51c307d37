"""Logged models in SQL."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    Table,
    Text,
    and_,
    any_,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from app.experiments.models import Experiment
from app.models.entities import LoggedModel, ModelMetric
from app.models.models import LoggedModel as ModelRow
from app.models.models import LoggedModelMetric, LoggedModelParam, LoggedModelTag
from app.tenancy.tenant import Tenant

Pairs = type[LoggedModelParam] | type[LoggedModelTag]

ATTACHED = [
    (cast(Table, rows.__table__), "model_id")
    for rows in (LoggedModelParam, LoggedModelTag, LoggedModelMetric)
]
"""What hangs on a model: tables, each with its column that holds the model's id."""


def _object(pairs: Pairs) -> ScalarSelect[Any]:
    """A model's params or tags as one JSON object; not jsonb, which has an order of its own."""
    return (
        select(
            func.coalesce(
                func.json_object_agg(pairs.key, aggregate_order_by(pairs.value, pairs.key)),
                func.json_build_object(),
            )
        )
        .where(pairs.tenant_id == ModelRow.tenant_id, pairs.model_id == ModelRow.model_id)
        .scalar_subquery()
    )


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
    _object(LoggedModelParam).label("params"),
    _object(LoggedModelTag).label("tags"),
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
    models = {row.model_id: LoggedModel(**row._mapping) for row in rows}
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


async def add_params(
    connection: AsyncConnection, tenant: Tenant, model_id: str, params: Mapping[str, str]
) -> dict[str, str]:
    """Add the params that are new; returns what all of them now are."""
    await connection.execute(
        upsert(LoggedModelParam)
        .from_select(*_rows(tenant, model_id, params))
        .on_conflict_do_nothing()
    )
    rows = await connection.execute(
        select(LoggedModelParam.key, LoggedModelParam.value).where(
            LoggedModelParam.tenant_id == tenant.id,
            LoggedModelParam.model_id == model_id,
            _one_of(LoggedModelParam.key, list(params)),
        )
    )
    return {row.key: row.value for row in rows}


async def set_tags(
    connection: AsyncConnection, tenant: Tenant, model_id: str, tags: Mapping[str, str]
) -> None:
    statement = upsert(LoggedModelTag).from_select(*_rows(tenant, model_id, tags))
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "model_id", "key"],
            set_={"value": statement.excluded.value},
        )
    )


async def delete_tag(connection: AsyncConnection, tenant: Tenant, model_id: str, key: str) -> bool:
    """False where there was no such tag."""
    rows = await connection.execute(
        delete(LoggedModelTag)
        .where(
            LoggedModelTag.tenant_id == tenant.id,
            LoggedModelTag.model_id == model_id,
            LoggedModelTag.key == key,
        )
        .returning(LoggedModelTag.key)
    )
    return rows.first() is not None


# Below, values travel as arrays: Postgres takes at most 65,535 parameters.


def _one_of(column: InstrumentedAttribute[str], values: Sequence[str]) -> ColumnElement[bool]:
    return column == any_(_array(values))


def _rows(tenant: Tenant, model_id: str, pairs: Mapping[str, str]) -> tuple[list[str], Select[Any]]:
    """Columns and rows of pairs to insert."""
    given = (
        func.unnest(_array(pairs.keys()), _array(pairs.values()))
        .table_valued("key", "value", name="given")
        .render_derived()
    )
    return (
        ["tenant_id", "model_id", "key", "value"],
        select(literal(tenant.id), literal(model_id, Text), given.c.key, given.c.value),
    )


def _array(values: Iterable[str]) -> ColumnElement[Any]:
    return literal(list(values), ARRAY(Text))
