"""SQL of model versions."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Select,
    Uuid,
    and_,
    any_,
    collate,
    delete,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by, distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.tables.experiments import Experiment
from app.db.tables.registry import ModelVersion as VersionRow
from app.db.tables.registry import RegisteredModel, RegisteredModelAlias
from app.db.tables.runs import Run
from app.kernel.lifecycle import PURGING
from app.kernel.tenant import Tenant
from app.kernel.validation import INT64_MAX, INT64_MIN
from app.registry.entities import ModelVersion
from app.registry.tags import VERSION_TAGS

_ALIASES = (
    select(
        func.coalesce(
            func.json_agg(
                aggregate_order_by(
                    RegisteredModelAlias.alias, collate(RegisteredModelAlias.alias, "C")
                )
            ),
            func.json_build_array(),
        )
    )
    .where(
        RegisteredModelAlias.tenant_id == VersionRow.tenant_id,
        RegisteredModelAlias.version_id == VersionRow.version_id,
    )
    .scalar_subquery()
)

_VERSIONS: Select[*tuple[Any, ...]] = select(
    VersionRow.version_id,
    RegisteredModel.name,
    VersionRow.version,
    VersionRow.creation_time,
    VersionRow.last_updated_time,
    VersionRow.current_stage,
    VersionRow.description,
    VersionRow.source,
    VersionRow.storage_location,
    VersionRow.run_id,
    VersionRow.run_link,
    _ALIASES.label("aliases"),
).join(
    RegisteredModel,
    and_(
        RegisteredModel.tenant_id == VersionRow.tenant_id,
        RegisteredModel.registered_model_id == VersionRow.registered_model_id,
    ),
)


async def get(
    connection: AsyncConnection, tenant: Tenant, ids: Sequence[UUID]
) -> list[ModelVersion]:
    """The versions with these ids, in the order of the ids; absent ones are left out."""
    found = await _read(
        connection,
        tenant,
        _versions_of(tenant).where(VersionRow.version_id == any_(literal(list(ids), ARRAY(Uuid)))),
    )
    versions = {version.version_id: version for version in found}
    return [versions[version_id] for version_id in ids if version_id in versions]


async def find(
    connection: AsyncConnection, tenant: Tenant, name: str, version: int
) -> ModelVersion | None:
    """The version of the model with that name."""
    if not INT64_MIN <= version <= INT64_MAX:
        return None
    found = await _read(
        connection,
        tenant,
        _versions_of(tenant).where(RegisteredModel.name == name, VersionRow.version == version),
    )
    return found[0] if found else None


async def find_by_alias(
    connection: AsyncConnection, tenant: Tenant, model_id: UUID, alias: str
) -> ModelVersion | None:
    """The version that an alias of the model points at."""
    aliased = (
        select(RegisteredModelAlias.version_id)
        .where(
            RegisteredModelAlias.tenant_id == tenant.id,
            RegisteredModelAlias.registered_model_id == model_id,
            RegisteredModelAlias.alias == alias,
        )
        .scalar_subquery()
    )
    found = await _read(
        connection, tenant, _versions_of(tenant).where(VersionRow.version_id == aliased)
    )
    return found[0] if found else None


async def latest(
    connection: AsyncConnection, tenant: Tenant, model_ids: Sequence[UUID]
) -> list[ModelVersion]:
    """The newest version of each model in each stage, by model and then by stage."""
    return await _read(
        connection,
        tenant,
        _versions_of(tenant)
        .where(VersionRow.version_id.in_(_select_latest(tenant, model_ids)))
        .order_by(VersionRow.registered_model_id, collate(VersionRow.current_stage, "C")),
    )


async def latest_ids(
    connection: AsyncConnection, tenant: Tenant, model_ids: Sequence[UUID]
) -> dict[UUID, UUID]:
    """The ids of the versions that `latest` reads, each with the id of its model."""
    rows = await connection.execute(
        _select_latest(tenant, model_ids).add_columns(VersionRow.registered_model_id)
    )
    return {row[0]: row[1] for row in rows}


def _select_latest(tenant: Tenant, model_ids: Sequence[UUID]) -> Select[*tuple[Any, ...]]:
    return (
        select(VersionRow.version_id)
        .ext(distinct_on(VersionRow.registered_model_id, VersionRow.current_stage))
        .where(
            VersionRow.tenant_id == tenant.id,
            VersionRow.registered_model_id == any_(literal(list(model_ids), ARRAY(Uuid))),
        )
        .order_by(
            VersionRow.registered_model_id, VersionRow.current_stage, VersionRow.version.desc()
        )
    )


async def stages_by_age(connection: AsyncConnection, tenant: Tenant, model_id: UUID) -> list[str]:
    """The stages that a model has versions in, by the oldest version in each."""
    rows = await connection.scalars(
        select(VersionRow.current_stage)
        .where(VersionRow.tenant_id == tenant.id, VersionRow.registered_model_id == model_id)
        .group_by(VersionRow.current_stage)
        .order_by(func.min(VersionRow.version))
    )
    return list(rows)


async def create(connection: AsyncConnection, tenant: Tenant, **values: object) -> None:
    await connection.execute(insert(VersionRow).values(tenant_id=tenant.id, **values))


async def change(
    connection: AsyncConnection, tenant: Tenant, version_id: UUID, **values: object
) -> None:
    await connection.execute(
        update(VersionRow)
        .where(VersionRow.tenant_id == tenant.id, VersionRow.version_id == version_id)
        .values(**values)
    )


async def change_all(
    connection: AsyncConnection, tenant: Tenant, model_id: UUID, **values: object
) -> None:
    """Change all versions of a model."""
    await connection.execute(
        update(VersionRow)
        .where(VersionRow.tenant_id == tenant.id, VersionRow.registered_model_id == model_id)
        .values(**values)
    )


async def archive(
    connection: AsyncConnection, tenant: Tenant, model_id: UUID, stage: str, now: int
) -> None:
    """Archive the versions of a model that are in the stage."""
    await connection.execute(
        update(VersionRow)
        .where(
            VersionRow.tenant_id == tenant.id,
            VersionRow.registered_model_id == model_id,
            VersionRow.current_stage == stage,
        )
        .values(current_stage="Archived", last_updated_time=now)
    )


async def remove(connection: AsyncConnection, tenant: Tenant, version_id: UUID) -> None:
    """Delete the version with its tags and aliases."""
    await connection.execute(
        delete(VersionRow).where(
            VersionRow.tenant_id == tenant.id, VersionRow.version_id == version_id
        )
    )


# Locks runs and logged models with these ids FOR KEY SHARE. Garbage collection waits for that lock,
# since it locks a run or a model FOR UPDATE before it deletes it, and an experiment FOR UPDATE
# before it marks its runs and models as being purged. Other writers do not wait. The experiment is
# locked last, so that its mark is read as it is under the lock.
_LOCK_SOURCES = text(f"""
WITH run AS MATERIALIZED (
    SELECT {PURGING} IN (run.deleted_time, experiment.deleted_time) AS purging
    FROM runs AS run JOIN experiments AS experiment USING (tenant_id, experiment_id)
    WHERE run.tenant_id = :tenant AND run.run_id = ANY(CAST(:runs AS uuid[]))
    ORDER BY run.run_id
    FOR KEY SHARE OF run, experiment
),
model AS MATERIALIZED (
    SELECT {PURGING} IN (model.deleted_time, experiment.deleted_time) AS purging
    FROM logged_models AS model JOIN experiments AS experiment USING (tenant_id, experiment_id)
    WHERE model.tenant_id = :tenant AND model.model_id = ANY(CAST(:models AS text[]))
    ORDER BY model.model_id
    FOR KEY SHARE OF model, experiment
)
SELECT purging FROM run UNION ALL SELECT purging FROM model
""")


async def lock_sources(connection: AsyncConnection, tenant: Tenant, ids: Sequence[str]) -> bool:
    """Lock runs and logged models against garbage collection until the transaction ends.

    `ids` are run ids, and model ids without their `m-`: 32 hexadecimal digits; those that do not
    exist are ignored. False where one of them is being purged already.
    """
    if not ids:
        return True
    is_purging = await connection.scalars(
        _LOCK_SOURCES,
        {"tenant": tenant.id, "runs": list(ids), "models": [f"m-{digits}" for digits in ids]},
    )
    return True not in is_purging.all()


async def lock_version(connection: AsyncConnection, tenant: Tenant, version_id: UUID) -> bool:
    """Lock a version FOR KEY SHARE, so that it is not deleted before the transaction ends. False
    where it was deleted."""
    rows = await connection.execute(
        select(VersionRow.version_id)
        .where(VersionRow.tenant_id == tenant.id, VersionRow.version_id == version_id)
        .with_for_update(read=True, key_share=True)
    )
    return rows.first() is not None


async def run_artifacts(
    connection: AsyncConnection, tenant: Tenant, run_id: UUID
) -> tuple[int, str | None] | None:
    """The id and the artifact location of a run's experiment; None if there is no such run."""
    rows = await connection.execute(
        select(Run.experiment_id, Experiment.artifact_location)
        .join(
            Experiment,
            and_(
                Experiment.tenant_id == Run.tenant_id,
                Experiment.experiment_id == Run.experiment_id,
            ),
        )
        .where(Run.tenant_id == tenant.id, Run.run_id == run_id)
    )
    row = rows.one_or_none()
    return None if row is None else (row[0], row[1])


def _versions_of(tenant: Tenant) -> Select[*tuple[Any, ...]]:
    return _VERSIONS.where(
        VersionRow.tenant_id == tenant.id, RegisteredModel.tenant_id == tenant.id
    )


async def _read(
    connection: AsyncConnection, tenant: Tenant, statement: Select[*tuple[Any, ...]]
) -> list[ModelVersion]:
    found = [row._mapping for row in await connection.execute(statement)]
    ids = [columns["version_id"] for columns in found]
    tags = await VERSION_TAGS.read(connection, tenant, ids)
    return [
        ModelVersion(**columns, tags=tags[version_id])
        for version_id, columns in zip(ids, found, strict=True)
    ]
