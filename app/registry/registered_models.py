"""Service of registered models, with the rules of MLflow 3.17's SQL store."""

from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.audit import trail
from app.db.database import Database
from app.kernel.clock import now_ms
from app.kernel.errors import AlreadyExistsError
from app.kernel.memory_budget import MemoryBudget
from app.kernel.tenant import Tenant
from app.kernel.validation import key as check_key
from app.registry import lookup, model_repository, validation
from app.registry import version_repository as versions
from app.registry.entities import (
    PROMPT_TAG,
    STAGES,
    ModelVersion,
    RegisteredModel,
    canonical_stage,
)
from app.registry.search import search_registered_models
from app.registry.tags import MODEL_TAGS, VERSION_TAGS
from app.search.page_sizes import cut_page, fetch_rows, measure
from app.tenants.lookup import TenantLookup


class RegisteredModels:
    """Methods raise RegisteredModelNotFoundError for a model that the tenant does not have, and
    InvalidValueError for a malformed name."""

    def __init__(self, database: Database, memory: MemoryBudget, tenants: TenantLookup) -> None:
        self._database = database
        self._memory = memory
        self._tenants = tenants

    async def create(
        self,
        tenant: Tenant,
        name: str,
        *,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> RegisteredModel:
        """A new model, without versions. Raises AlreadyExistsError."""
        tags = dict(tags or {})
        validation.new_name(name)
        validation.description(description)
        validation.model_tags(tags)
        tenant = await self._tenants.ensure_created(tenant)
        async with self._database.write(tenant) as connection:
            model_id = await model_repository.create(
                connection, tenant, name=name, description=description, now=now_ms()
            )
            if model_id is None:
                existing = await model_repository.find(connection, tenant, name)
                raise _already_exists(name, tags, existing.tags if existing else tags)
            await MODEL_TAGS.set(connection, tenant, model_id, tags)
            return await self._read(connection, tenant, model_id)

    async def get(self, tenant: Tenant, name: str) -> RegisteredModel:
        async with self._database.read(tenant) as connection:
            model = await lookup.model(connection, tenant, name)
            model.latest_versions = await _latest(connection, tenant, model.registered_model_id)
        return model

    async def search(
        self,
        tenant: Tenant,
        *,
        filter: str = "",
        order_by: Sequence[str] = (),
        limit: int,
        page_token: str | None = None,
    ) -> tuple[list[RegisteredModel], str | None]:
        """A page of models, by name unless ordered otherwise, and the token of the next page."""
        page = search_registered_models(
            tenant, filter=filter, order_by=order_by, limit=limit, page_token=page_token
        )
        async with self._database.read(tenant) as connection:
            rows = await fetch_rows(connection, page)
            latest_ids = await versions.latest_ids(
                connection, tenant, [row[0] for row in rows[:limit]]
            )
            ids, token = await cut_page(
                self._memory,
                connection,
                tenant,
                page,
                rows,
                (MODEL_TAGS.table, MODEL_TAGS.owner_column),
                extra_bytes=await _version_bytes(connection, tenant, latest_ids),
            )
            models = await model_repository.get(connection, tenant, ids)
            by_name = {model.name: model for model in models}
            for version in await versions.latest(connection, tenant, ids):
                by_name[version.name].latest_versions.append(version)
        return models, token

    async def latest_versions(
        self, tenant: Tenant, name: str, stages: Sequence[str] = ()
    ) -> list[ModelVersion]:
        """The newest version in each of the stages, or without `stages` in all stages."""
        async with self._database.read(tenant) as connection:
            model = await lookup.model(connection, tenant, name)
            wanted = {canonical_stage(stage) for stage in stages or STAGES}
            found = await _latest(connection, tenant, model.registered_model_id)
        return [version for version in found if version.current_stage in wanted]

    async def update(
        self, tenant: Tenant, name: str, *, description: str | None
    ) -> RegisteredModel:
        """Change the description; None removes it."""
        validation.description(description)
        async with self._database.write(tenant) as connection:
            model_id = await lookup.lock_model(connection, tenant, name)
            await model_repository.change(
                connection, tenant, model_id, description=description, last_updated_time=now_ms()
            )
            return await self._read(connection, tenant, model_id)

    async def rename(self, tenant: Tenant, name: str, new_name: str) -> RegisteredModel:
        """Rename the model, with its versions, tags and aliases. Raises AlreadyExistsError."""
        validation.new_name(new_name, "new_name")
        now = now_ms()
        try:
            async with self._database.write(tenant) as connection:
                model_id = await lookup.lock_model(connection, tenant, name)
                await model_repository.change(
                    connection, tenant, model_id, name=new_name, last_updated_time=now
                )
                await versions.change_all(connection, tenant, model_id, last_updated_time=now)
                return await self._read(connection, tenant, model_id)
        except IntegrityError:
            raise AlreadyExistsError(
                f"Registered Model (name={new_name}) already exists.", field="new_name"
            ) from None

    async def delete(self, tenant: Tenant, name: str) -> None:
        """Delete the model with its versions, tags and aliases. Its artifacts stay."""
        async with self._database.write(tenant) as connection:
            model_id = await lookup.lock_model(connection, tenant, name)
            await model_repository.remove(connection, tenant, model_id)
            await trail.record(connection, tenant, "registered_model.delete", name)

    async def set_tag(self, tenant: Tenant, name: str, key: str, value: str) -> None:
        validation.name(name)
        tags = {key: value}
        validation.model_tags(tags)
        async with self._database.write(tenant) as connection:
            model_id = await lookup.lock_model(connection, tenant, name)
            await MODEL_TAGS.set(connection, tenant, model_id, tags)

    async def delete_tag(self, tenant: Tenant, name: str, key: str) -> None:
        """Delete a tag, if the model has it."""
        validation.name(name)
        check_key(key, "key")
        async with self._database.write(tenant) as connection:
            model_id = await lookup.lock_model(connection, tenant, name)
            await MODEL_TAGS.delete(connection, tenant, model_id, [key])

    async def set_alias(self, tenant: Tenant, name: str, alias: str, version: str) -> None:
        """Point the alias at a version.

        Raises ModelVersionNotFoundError, also where there is no such model.
        """
        validation.name(name)
        validation.new_alias(alias)
        async with self._database.write(tenant) as connection:
            model_id, found = await lookup.lock_version(connection, tenant, name, version)
            await model_repository.set_alias(connection, tenant, model_id, alias, found.version_id)

    async def delete_alias(self, tenant: Tenant, name: str, alias: str) -> None:
        """Delete an alias, if the model has it."""
        validation.name(name)
        validation.alias(alias)
        async with self._database.write(tenant) as connection:
            model_id = await lookup.lock_model(connection, tenant, name)
            await model_repository.delete_alias(connection, tenant, model_id, alias)

    async def version_by_alias(self, tenant: Tenant, name: str, alias: str) -> ModelVersion:
        """The version that the alias points at; `latest`, ignoring case, is the newest version.

        Raises AliasNotFoundError.
        """
        validation.name(name)
        validation.alias(alias)
        async with self._database.read(tenant) as connection:
            model = await lookup.model(connection, tenant, name)
            return await lookup.by_alias(connection, tenant, model, alias)

    async def _read(
        self, connection: AsyncConnection, tenant: Tenant, model_id: UUID
    ) -> RegisteredModel:
        (model,) = await model_repository.get(connection, tenant, [model_id])
        model.latest_versions = await _latest(connection, tenant, model_id)
        return model


async def _version_bytes(
    connection: AsyncConnection, tenant: Tenant, latest_ids: Mapping[UUID, UUID]
) -> Counter[UUID]:
    """About how many bytes the latest versions of each model take. `latest_ids` maps the ids of
    versions to those of their models."""
    tags = (VERSION_TAGS.table, VERSION_TAGS.owner_column)
    sizes: Counter[UUID] = Counter()
    for version_id, size in (await measure(connection, tenant, list(latest_ids), tags)).items():
        sizes[latest_ids[version_id]] += size
    return sizes


async def _latest(
    connection: AsyncConnection, tenant: Tenant, model_id: UUID
) -> list[ModelVersion]:
    """The newest version in each stage.

    The stages are in the order of their oldest versions. Searches have them by name, as in MLflow.
    """
    found = await versions.latest(connection, tenant, [model_id])
    if len(found) < 2:
        return found
    stages = await versions.stages_by_age(connection, tenant, model_id)
    return sorted(found, key=lambda version: stages.index(version.current_stage))


def _already_exists(
    name: str, tags: Mapping[str, str], tags_of_existing: Mapping[str, str]
) -> AlreadyExistsError:
    new, old = (
        "Prompt" if PROMPT_TAG in each else "Registered Model" for each in (tags, tags_of_existing)
    )
    if new == old:
        return AlreadyExistsError(f"{new} (name={name}) already exists.", field="name")
    return AlreadyExistsError(
        f"Tried to create a {new.lower()} with name {name!r}, but the name is already taken by a"
        f" {old.lower()}. MLflow does not allow creating a model and a prompt with the same name.",
        field="name",
    )
