"""Service of model versions, with the rules of MLflow 3.17's SQL store."""

import json
from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from app.audit import trail
from app.db.database import Database
from app.kernel.clock import now_ms
from app.kernel.errors import InvalidValueError, RegisteredModelNotFoundError
from app.kernel.ids import new_uuid
from app.kernel.memory_budget import MemoryBudget
from app.kernel.tenant import Tenant
from app.kernel.validation import key as check_key
from app.kernel.validation import text as check_text
from app.logged_models import repository as logged_models
from app.registry import lookup, model_repository, validation, version_sources
from app.registry import version_repository as versions
from app.registry.entities import ACTIVE_STAGES, ModelVersion, canonical_stage, is_prompt
from app.registry.search import search_model_versions
from app.registry.tags import VERSION_TAGS
from app.search.page_sizes import cut_page, fetch_rows

# The tag of a logged model that lists the versions it is registered as: a JSON array of objects.
REGISTRATIONS_TAG = "mlflow.modelVersions"


class ModelVersions:
    """Methods that name a version raise ModelVersionNotFoundError for one that the tenant does not
    have, and InvalidValueError for a malformed name or number."""

    def __init__(self, database: Database, memory: MemoryBudget) -> None:
        self._database = database
        self._memory = memory

    async def create(
        self,
        tenant: Tenant,
        name: str,
        source: str,
        *,
        run_id: str | None = None,
        model_id: str | None = None,
        run_link: str = "",
        description: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> ModelVersion:
        """Create the next version of a registered model.

        `app.registry.version_sources` has the rules of `source`. The version is added to the tag
        `mlflow.modelVersions` of the logged model `model_id`.
        """
        tags = dict(tags or {})
        _check(name, source, run_id, run_link, description, tags)
        version_id = new_uuid()
        now = now_ms()
        async with self._database.write(tenant) as connection:
            # Locks the registered model, as all do that lock its versions afterwards.
            next_version = await model_repository.next_version(connection, tenant, name, now)
            if is_prompt(tags):
                resolved = version_sources.prompt_source(source, run_id or "")
            else:
                resolved = await version_sources.resolve(
                    connection, tenant, source, run_id, model_id
                )
            if next_version is None:
                raise RegisteredModelNotFoundError(name)
            registered_model_id, number = next_version
            await versions.create(
                connection,
                tenant,
                version_id=version_id,
                registered_model_id=registered_model_id,
                version=number,
                creation_time=now,
                last_updated_time=now,
                current_stage="None",
                description=description,
                source=resolved.source,
                storage_location=resolved.storage_location,
                run_id=resolved.run_id,
                run_link=run_link,
            )
            await VERSION_TAGS.set(connection, tenant, version_id, tags)
            if resolved.model_id:
                await _add_registration(connection, tenant, resolved.model_id, name, number)
            (created,) = await versions.get(connection, tenant, [version_id])
        return created

    async def get(self, tenant: Tenant, name: str, version: str) -> ModelVersion:
        async with self._database.read(tenant) as connection:
            return await lookup.version(connection, tenant, name, version)

    async def search(
        self,
        tenant: Tenant,
        *,
        filter: str = "",
        order_by: Sequence[str] = (),
        limit: int,
        page_token: str | None = None,
    ) -> tuple[list[ModelVersion], str | None]:
        """A page of the versions of all models, the last changed first unless ordered otherwise,
        and the token of the next page."""
        page = search_model_versions(
            tenant, filter=filter, order_by=order_by, limit=limit, page_token=page_token
        )
        async with self._database.read(tenant) as connection:
            rows = await fetch_rows(connection, page)
            tags = (VERSION_TAGS.table, VERSION_TAGS.owner_column)
            ids, token = await cut_page(self._memory, connection, tenant, page, rows, tags)
            return await versions.get(connection, tenant, ids), token

    async def update(
        self, tenant: Tenant, name: str, version: str, *, description: str | None
    ) -> ModelVersion:
        """Change the description; None removes it."""
        validation.description(description)
        async with self._database.write(tenant) as connection:
            _, found = await lookup.lock_version(connection, tenant, name, version)
            await versions.change(
                connection,
                tenant,
                found.version_id,
                description=description,
                last_updated_time=now_ms(),
            )
            return await lookup.version(connection, tenant, name, version)

    async def transition(
        self,
        tenant: Tenant,
        name: str,
        version: str,
        stage: str,
        *,
        archive_existing_versions: bool = False,
    ) -> ModelVersion:
        """Move a version to a stage, and with `archive_existing_versions` those that are in the
        stage to `Archived`.

        Raises InvalidValueError where versions of a stage that is not active would be archived.
        """
        new_stage = canonical_stage(stage)
        if archive_existing_versions and new_stage not in ACTIVE_STAGES:
            raise InvalidValueError(
                "Model version transition cannot archive existing model versions because"
                f" '{stage}' is not an Active stage. Valid stages are {list(ACTIVE_STAGES)}",
                field="archive_existing_versions",
            )
        now = now_ms()
        async with self._database.write(tenant) as connection:
            registered, found = await lookup.lock_version(connection, tenant, name, version)
            if archive_existing_versions:
                await versions.archive(connection, tenant, registered, new_stage, now)
            await versions.change(
                connection, tenant, found.version_id, current_stage=new_stage, last_updated_time=now
            )
            await model_repository.change(connection, tenant, registered, last_updated_time=now)
            return await lookup.version(connection, tenant, name, version)

    async def delete(self, tenant: Tenant, name: str, version: str) -> None:
        """Delete the version with its tags and aliases. Its number is never given again."""
        async with self._database.write(tenant) as connection:
            registered, found = await lookup.lock_version(connection, tenant, name, version)
            await versions.remove(connection, tenant, found.version_id)
            await model_repository.change(
                connection, tenant, registered, last_updated_time=now_ms()
            )
            await trail.record(
                connection, tenant, "model_version.delete", f"{found.name}/{found.version}"
            )

    async def download_uri(self, tenant: Tenant, name: str, version: str) -> str:
        """The storage location of the version's files."""
        return (await self.get(tenant, name, version)).storage_location

    async def set_tag(self, tenant: Tenant, name: str, version: str, key: str, value: str) -> None:
        validation.name(name)
        validation.version(version)
        tags = {key: value}
        validation.version_tags(tags)
        async with self._database.write(tenant) as connection:
            _, found = await lookup.lock_version(connection, tenant, name, version)
            await VERSION_TAGS.set(connection, tenant, found.version_id, tags)

    async def delete_tag(self, tenant: Tenant, name: str, version: str, key: str) -> None:
        """Delete a tag, if the version has it."""
        validation.name(name)
        validation.version(version)
        check_key(key, "key")
        async with self._database.write(tenant) as connection:
            _, found = await lookup.lock_version(connection, tenant, name, version)
            await VERSION_TAGS.delete(connection, tenant, found.version_id, [key])


def _check(
    name: str,
    source: str,
    run_id: str | None,
    run_link: str,
    description: str,
    tags: dict[str, str],
) -> None:
    validation.name(name)
    check_text(source, "source", validation.MAX_SOURCE_LENGTH)
    check_text(run_id or "", "run_id", validation.MAX_RUN_ID_LENGTH)
    check_text(run_link, "run_link", validation.MAX_RUN_LINK_LENGTH)
    validation.description(description)
    validation.version_tags(tags)


async def _add_registration(
    connection: AsyncConnection, tenant: Tenant, model_id: str, name: str, number: int
) -> None:
    """Add the version to the logged model's tag."""
    await logged_models.lock(connection, tenant, model_id)
    (model,) = await logged_models.get(connection, tenant, [model_id])
    registrations = _registrations(model.tags.get(REGISTRATIONS_TAG, ""))
    new = {"name": name, "version": number}
    if new not in registrations:
        value = json.dumps([*registrations, new])
        await logged_models.TAGS.set(connection, tenant, model_id, {REGISTRATIONS_TAG: value})


def _registrations(text: str) -> list[object]:
    """The array in the tag; empty if somebody set the tag to something else."""
    try:
        value = json.loads(text)
    except ValueError:
        return []
    return value if isinstance(value, list) else []
