"""The rules of model versions. They are those of MLflow 3.17's SQL store."""

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

# Where a logged model keeps the versions that were made from it: a JSON list of objects.
REGISTRATIONS_TAG = "mlflow.modelVersions"


class ModelVersions:
    """Every method that names a version raises NotFoundError for one that is not the tenant's, and
    InvalidValueError for a name or a number that can be none."""

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
        """The next version of a registered model.

        `app.registry.version_sources` has the rules of `source`.

        A logged model that is named by `model_id` is told of its version.
        """
        tags = tags or {}
        _check(name, source, run_id, run_link, description, tags)
        version_id = new_uuid()
        now = now_ms()
        async with self._database.write(tenant) as connection:
            # Locks the registered model, as everything does that then locks versions.
            taken = await model_repository.next_version(connection, tenant, name, now)
            if is_prompt(tags):
                origin = version_sources.prompt_origin(source, run_id or "")
            else:
                origin = await version_sources.resolve(connection, tenant, source, run_id, model_id)
            if taken is None:
                raise RegisteredModelNotFoundError(name)
            registered_model_id, number = taken
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
                source=origin.source,
                storage_location=origin.storage_location,
                run_id=origin.run_id,
                run_link=run_link,
            )
            await VERSION_TAGS.set(connection, tenant, version_id, tags)
            if origin.model_id:
                await _tell(connection, tenant, origin.model_id, name, number)
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
        and the token of the next one."""
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
        """Move a version to a stage, and on request what is there to the archive.

        Only active stages may be cleared so: InvalidValueError for another.
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
        """Delete the version with its tags and aliases; its number is not given again."""
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
        """Where the files of the version are."""
        return (await self.get(tenant, name, version)).storage_location

    async def set_tag(self, tenant: Tenant, name: str, version: str, key: str, value: str) -> None:
        validation.name(name)
        validation.version(version)
        validation.version_tags({key: value})
        async with self._database.write(tenant) as connection:
            _, found = await lookup.lock_version(connection, tenant, name, version)
            await VERSION_TAGS.set(connection, tenant, found.version_id, {key: value})

    async def delete_tag(self, tenant: Tenant, name: str, version: str, key: str) -> None:
        """A tag that is not there is no error."""
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
    tags: Mapping[str, str],
) -> None:
    validation.name(name)
    check_text(source, "source", validation.MAX_SOURCE_LENGTH)
    check_text(run_id or "", "run_id", validation.MAX_RUN_ID_LENGTH)
    check_text(run_link, "run_link", validation.MAX_RUN_LINK_LENGTH)
    validation.description(description)
    validation.version_tags(tags)


async def _tell(
    connection: AsyncConnection, tenant: Tenant, model_id: str, name: str, number: int
) -> None:
    """Note the version in the logged model's tag."""
    await logged_models.lock(connection, tenant, model_id)
    (model,) = await logged_models.get(connection, tenant, [model_id])
    known = _registrations(model.tags.get(REGISTRATIONS_TAG, ""))
    new = {"name": name, "version": number}
    if new not in known:
        value = json.dumps([*known, new])
        await logged_models.TAGS.set(connection, tenant, model_id, {REGISTRATIONS_TAG: value})


def _registrations(text: str) -> list[object]:
    """What the tag holds, which anyone may have set to anything."""
    try:
        known = json.loads(text)
    except ValueError:
        return []
    return known if isinstance(known, list) else []
