"""Finds and locks one registered model or model version by name.

A lock keeps other writers out until the transaction ends. All functions raise InvalidValueError for
a malformed name, version, alias or stage.
"""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.kernel.errors import (
    AliasNotFoundError,
    ModelVersionNotFoundError,
    NotFoundError,
    RegisteredModelNotFoundError,
)
from app.kernel.tenant import Tenant
from app.registry import model_repository, validation
from app.registry import version_repository as versions
from app.registry.entities import ModelVersion, RegisteredModel, canonical_stage


async def model(connection: AsyncConnection, tenant: Tenant, name: str) -> RegisteredModel:
    """The model, without its versions. Raises RegisteredModelNotFoundError."""
    validation.name(name)
    found = await model_repository.find(connection, tenant, name)
    if found is None:
        raise RegisteredModelNotFoundError(name)
    return found


async def version(
    connection: AsyncConnection, tenant: Tenant, name: str, number: str
) -> ModelVersion:
    """The version. Raises ModelVersionNotFoundError, also where there is no such model."""
    validation.name(name)
    parsed = validation.version(number)
    found = await versions.find(connection, tenant, name, parsed)
    if found is None:
        raise ModelVersionNotFoundError(name, parsed)
    return found


async def lock_model(connection: AsyncConnection, tenant: Tenant, name: str) -> UUID:
    """Lock the model and return its id. Raises RegisteredModelNotFoundError."""
    validation.name(name)
    found = await model_repository.lock(connection, tenant, name)
    if found is None:
        raise RegisteredModelNotFoundError(name)
    return found


async def lock_version(
    connection: AsyncConnection, tenant: Tenant, name: str, number: str
) -> tuple[UUID, ModelVersion]:
    """Lock the model and return its id, and the version.

    Raises ModelVersionNotFoundError, also where there is no such model.
    """
    validation.name(name)
    parsed = validation.version(number)
    model_id = await model_repository.lock(connection, tenant, name)
    if model_id is None:
        raise ModelVersionNotFoundError(name, parsed)
    return model_id, await version(connection, tenant, name, number)


async def by_alias(
    connection: AsyncConnection, tenant: Tenant, model: RegisteredModel, alias: str
) -> ModelVersion:
    """The version that the alias points at; `latest`, ignoring case, is the newest version.

    Raises AliasNotFoundError, which like MLflow's is an InvalidValueError.
    """
    validation.alias(alias)
    if alias.lower() == validation.LATEST:
        found = await newest(connection, tenant, model)
        if found is None:
            raise NotFoundError(f"Latest version not found for model {model.name}.", field="alias")
        return found
    found = await versions.find_by_alias(connection, tenant, model.registered_model_id, alias)
    if found is None:
        raise AliasNotFoundError(alias)
    return found


async def newest(
    connection: AsyncConnection, tenant: Tenant, model: RegisteredModel, stage: str | None = None
) -> ModelVersion | None:
    """The newest version of the model, or with `stage` the newest one in that stage."""
    wanted = None if stage is None else canonical_stage(stage)
    found = await versions.latest(connection, tenant, [model.registered_model_id])
    in_stage = [version for version in found if wanted in (None, version.current_stage)]
    return max(in_stage, key=lambda version: version.version, default=None)
