"""Ways to one registered model or version, shared by the services and the rules of sources.

What is locked stays as it is for other writers until the transaction ends. All functions raise
InvalidValueError for a malformed name, version, alias or stage.
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
    """The model, without its versions. Raises NotFoundError."""
    validation.name(name)
    found = await model_repository.find(connection, tenant, name)
    if found is None:
        raise RegisteredModelNotFoundError(name)
    return found


async def version(
    connection: AsyncConnection, tenant: Tenant, name: str, number: str
) -> ModelVersion:
    """Raises NotFoundError, whether it is the version that is not there or the model."""
    validation.name(name)
    parsed = validation.version(number)
    found = await versions.find(connection, tenant, name, parsed)
    if found is None:
        raise ModelVersionNotFoundError(name, parsed)
    return found


async def lock_model(connection: AsyncConnection, tenant: Tenant, name: str) -> UUID:
    """The model's id. Raises NotFoundError."""
    validation.name(name)
    found = await model_repository.lock(connection, tenant, name)
    if found is None:
        raise RegisteredModelNotFoundError(name)
    return found


async def lock_version(
    connection: AsyncConnection, tenant: Tenant, name: str, number: str
) -> tuple[UUID, ModelVersion]:
    """The model's id, and the version. Raises NotFoundError in the same words for either."""
    validation.name(name)
    parsed = validation.version(number)
    model_id = await model_repository.lock(connection, tenant, name)
    if model_id is None:
        raise ModelVersionNotFoundError(name, parsed)
    return model_id, await version(connection, tenant, name, number)


async def by_alias(
    connection: AsyncConnection, tenant: Tenant, model: RegisteredModel, alias: str
) -> ModelVersion:
    """The version that the alias points at; `latest`, in any case, is the newest.

    Raises InvalidValueError for an alias that is not there, as MLflow has it.
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
    """The version with the greatest number, of those in a stage where one is named."""
    wanted = None if stage is None else canonical_stage(stage)
    found = await versions.latest(connection, tenant, [model.registered_model_id])
    of_stage = [each for each in found if wanted in (None, each.current_stage)]
    return max(of_stage, key=lambda each: each.version, default=None)
