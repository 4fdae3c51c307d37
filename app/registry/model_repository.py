"""SQL of registered models and their aliases."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Uuid, and_, any_, collate, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.tables.registry import ModelVersion, RegisteredModelAlias
from app.db.tables.registry import RegisteredModel as ModelRow
from app.kernel.ids import new_uuid
from app.kernel.tenant import Tenant
from app.registry.entities import RegisteredModel
from app.registry.tags import MODEL_TAGS

_ALIASES = (
    select(
        func.coalesce(
            func.json_object_agg(
                RegisteredModelAlias.alias,
                aggregate_order_by(ModelVersion.version, collate(RegisteredModelAlias.alias, "C")),
            ),
            func.json_build_object(),
        )
    )
    .join(
        ModelVersion,
        and_(
            ModelVersion.tenant_id == RegisteredModelAlias.tenant_id,
            ModelVersion.version_id == RegisteredModelAlias.version_id,
        ),
    )
    .where(
        RegisteredModelAlias.tenant_id == ModelRow.tenant_id,
        RegisteredModelAlias.registered_model_id == ModelRow.registered_model_id,
    )
    .scalar_subquery()
)

_MODELS = select(
    ModelRow.registered_model_id,
    ModelRow.name,
    ModelRow.description,
    ModelRow.creation_time,
    ModelRow.last_updated_time,
    _ALIASES.label("aliases"),
)


async def get(
    connection: AsyncConnection, tenant: Tenant, ids: Sequence[UUID]
) -> list[RegisteredModel]:
    """The models with these ids, without their versions, in the order of the ids; absent ones are
    left out."""
    rows = await connection.execute(
        _MODELS.where(
            ModelRow.tenant_id == tenant.id,
            ModelRow.registered_model_id == any_(literal(list(ids), ARRAY(Uuid))),
        )
    )
    models = {
        model.registered_model_id: model for model in await _with_tags(connection, tenant, rows)
    }
    return [models[model_id] for model_id in ids if model_id in models]


async def find(connection: AsyncConnection, tenant: Tenant, name: str) -> RegisteredModel | None:
    """The model with that name, without its versions."""
    rows = await connection.execute(
        _MODELS.where(ModelRow.tenant_id == tenant.id, ModelRow.name == name)
    )
    found = await _with_tags(connection, tenant, rows)
    return found[0] if found else None


async def _with_tags(
    connection: AsyncConnection, tenant: Tenant, rows: Iterable[Row[*tuple[Any, ...]]]
) -> list[RegisteredModel]:
    """The models of the rows, with their tags."""
    found = [row._mapping for row in rows]
    ids = [columns["registered_model_id"] for columns in found]
    tags = await MODEL_TAGS.read(connection, tenant, ids)
    return [
        RegisteredModel(**columns, tags=tags[model_id])
        for model_id, columns in zip(ids, found, strict=True)
    ]


async def create(
    connection: AsyncConnection, tenant: Tenant, *, name: str, description: str | None, now: int
) -> UUID | None:
    """The id of the new model; None where the name is taken."""
    created: UUID | None = await connection.scalar(
        upsert(ModelRow)
        .values(
            tenant_id=tenant.id,
            registered_model_id=new_uuid(),
            name=name,
            description=description,
            creation_time=now,
            last_updated_time=now,
        )
        .on_conflict_do_nothing(index_elements=["tenant_id", "name"])
        .returning(ModelRow.registered_model_id)
    )
    return created


async def lock(connection: AsyncConnection, tenant: Tenant, name: str) -> UUID | None:
    """Lock the model with that name until the transaction ends. The model's id; None if there is no
    such model.

    Writers of a model's versions, tags and aliases hold this lock.
    """
    found: UUID | None = await connection.scalar(
        select(ModelRow.registered_model_id)
        .where(ModelRow.tenant_id == tenant.id, ModelRow.name == name)
        .with_for_update(key_share=True)
    )
    return found


async def change(
    connection: AsyncConnection, tenant: Tenant, model_id: UUID, **values: object
) -> None:
    """Update columns of the model. Raises IntegrityError where a new name is taken."""
    await connection.execute(
        update(ModelRow)
        .where(ModelRow.tenant_id == tenant.id, ModelRow.registered_model_id == model_id)
        .values(**values)
    )


async def next_version(
    connection: AsyncConnection, tenant: Tenant, name: str, now: int
) -> Row[UUID, int] | None:
    """The model's id and the number of its next version, which is never given again. Locks the
    model; None if there is no such model."""
    rows = await connection.execute(
        update(ModelRow)
        .where(ModelRow.tenant_id == tenant.id, ModelRow.name == name)
        .values(last_version=ModelRow.last_version + 1, last_updated_time=now)
        .returning(ModelRow.registered_model_id, ModelRow.last_version)
    )
    return rows.one_or_none()


async def remove(connection: AsyncConnection, tenant: Tenant, model_id: UUID) -> None:
    """Delete the model with its versions, tags and aliases."""
    await connection.execute(
        delete(ModelRow).where(
            ModelRow.tenant_id == tenant.id, ModelRow.registered_model_id == model_id
        )
    )


async def set_alias(
    connection: AsyncConnection, tenant: Tenant, model_id: UUID, alias: str, version_id: UUID
) -> None:
    """Point the alias at a version of the model."""
    statement = upsert(RegisteredModelAlias).values(
        tenant_id=tenant.id, registered_model_id=model_id, alias=alias, version_id=version_id
    )
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "registered_model_id", "alias"],
            set_={"version_id": statement.excluded.version_id},
        )
    )


async def delete_alias(
    connection: AsyncConnection, tenant: Tenant, model_id: UUID, alias: str
) -> None:
    await connection.execute(
        delete(RegisteredModelAlias).where(
            RegisteredModelAlias.tenant_id == tenant.id,
            RegisteredModelAlias.registered_model_id == model_id,
            RegisteredModelAlias.alias == alias,
        )
    )
