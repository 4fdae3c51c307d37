"""MLflow's model versions."""

import msgspec

from app.api.mlflow.fields import KeyValue, Required, key_values, page_size, tags_by_key
from app.api.mlflow.router import Call, Empty, Routes
from app.kernel.principal import Role
from app.registry import entities

routes = Routes()

# Also the default.
MAX_RESULTS = 200_000


class ModelVersion(msgspec.Struct, omit_defaults=True, kw_only=True):
    """As MLflow does, `run_id` and `run_link` are empty where there is none, and a description that
    was removed is left out."""

    name: str
    version: str
    creation_timestamp: int
    last_updated_timestamp: int
    current_stage: str
    description: str | None = None
    source: str
    run_id: str
    status: str
    tags: list[KeyValue] = []
    run_link: str
    aliases: list[str] = []


class ModelVersionAnswer(msgspec.Struct):
    model_version: ModelVersion


class CreateVersion(msgspec.Struct):
    """An id that is missing is None; an empty one is an id."""

    name: Required
    source: Required
    run_id: str | None = None
    tags: list[KeyValue] = []
    run_link: str = ""
    description: str = ""
    model_id: str | None = None


class VersionName(msgspec.Struct):
    name: Required
    version: Required


class UpdateVersion(msgspec.Struct):
    name: Required
    version: Required
    description: str | None = None


class TransitionStage(msgspec.Struct):
    name: Required
    version: Required
    stage: Required
    archive_existing_versions: bool = False


class GetDownloadUri(msgspec.Struct):
    """MLflow does not require these fields."""

    name: str = ""
    version: str = ""


class DownloadUriAnswer(msgspec.Struct):
    artifact_uri: str


class SearchVersions(msgspec.Struct):
    filter: str = ""
    max_results: int = MAX_RESULTS
    order_by: list[str] = []
    page_token: str = ""


class SearchVersionsAnswer(msgspec.Struct, omit_defaults=True):
    model_versions: list[ModelVersion] = []
    next_page_token: str | None = None


class SetTag(msgspec.Struct):
    name: Required
    version: Required
    key: Required
    value: str = ""


class DeleteTag(msgspec.Struct):
    name: Required
    version: Required
    key: Required


@routes.add("POST", "model-versions/create", CreateVersion, Role.WRITE)
async def create(call: Call, message: CreateVersion) -> ModelVersionAnswer:
    return _answer(
        await call.services.model_versions.create(
            call.tenant,
            message.name,
            message.source,
            run_id=message.run_id,
            model_id=message.model_id,
            run_link=message.run_link,
            description=message.description,
            tags=tags_by_key(message.tags),
        )
    )


@routes.add("GET", "model-versions/get", VersionName, Role.READ)
async def get(call: Call, message: VersionName) -> ModelVersionAnswer:
    return _answer(
        await call.services.model_versions.get(call.tenant, message.name, message.version)
    )


@routes.add("PATCH", "model-versions/update", UpdateVersion, Role.WRITE)
async def update(call: Call, message: UpdateVersion) -> ModelVersionAnswer:
    return _answer(
        await call.services.model_versions.update(
            call.tenant, message.name, message.version, description=message.description
        )
    )


@routes.add("DELETE", "model-versions/delete", VersionName, Role.WRITE)
async def delete(call: Call, message: VersionName) -> Empty:
    await call.services.model_versions.delete(call.tenant, message.name, message.version)
    return Empty()


@routes.add("GET", "model-versions/search", SearchVersions, Role.READ)
async def search(call: Call, message: SearchVersions) -> SearchVersionsAnswer:
    found, token = await call.services.model_versions.search(
        call.tenant,
        filter=message.filter,
        order_by=message.order_by,
        limit=page_size(message.max_results, MAX_RESULTS),
        page_token=message.page_token or None,
    )
    return SearchVersionsAnswer([version_message(version) for version in found], token)


@routes.add("GET", "model-versions/get-download-uri", GetDownloadUri, Role.READ)
async def get_download_uri(call: Call, message: GetDownloadUri) -> DownloadUriAnswer:
    return DownloadUriAnswer(
        await call.services.model_versions.download_uri(call.tenant, message.name, message.version)
    )


@routes.add("POST", "model-versions/transition-stage", TransitionStage, Role.WRITE)
async def transition_stage(call: Call, message: TransitionStage) -> ModelVersionAnswer:
    return _answer(
        await call.services.model_versions.transition(
            call.tenant,
            message.name,
            message.version,
            message.stage,
            archive_existing_versions=message.archive_existing_versions,
        )
    )


@routes.add("POST", "model-versions/set-tag", SetTag, Role.WRITE)
async def set_tag(call: Call, message: SetTag) -> Empty:
    await call.services.model_versions.set_tag(
        call.tenant, message.name, message.version, message.key, message.value
    )
    return Empty()


@routes.add("DELETE", "model-versions/delete-tag", DeleteTag, Role.WRITE)
async def delete_tag(call: Call, message: DeleteTag) -> Empty:
    await call.services.model_versions.delete_tag(
        call.tenant, message.name, message.version, message.key
    )
    return Empty()


def _answer(version: entities.ModelVersion) -> ModelVersionAnswer:
    return ModelVersionAnswer(version_message(version))


def version_message(version: entities.ModelVersion) -> ModelVersion:
    """A model version as MLflow's message."""
    return ModelVersion(
        name=version.name,
        version=str(version.version),
        creation_timestamp=version.creation_time,
        last_updated_timestamp=version.last_updated_time,
        current_stage=version.current_stage,
        description=version.description,
        source=version.source,
        run_id=version.run_id,
        status="READY",
        tags=key_values(version.tags),
        run_link=version.run_link,
        aliases=version.aliases,
    )
