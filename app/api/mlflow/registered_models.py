"""MLflow's registered models, with the aliases of their versions."""

import msgspec

from app.api.mlflow.fields import KeyValue, Required, key_values, page_size, tags_by_key
from app.api.mlflow.model_versions import ModelVersion, ModelVersionAnswer, version_message
from app.api.mlflow.router import Call, Empty, Routes
from app.kernel.principal import Role
from app.registry import entities

routes = Routes()

MAX_RESULTS = 1000


class Alias(msgspec.Struct):
    alias: str
    version: str


class RegisteredModel(msgspec.Struct, omit_defaults=True, kw_only=True):
    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    description: str = ""
    latest_versions: list[ModelVersion] = []
    tags: list[KeyValue] = []
    aliases: list[Alias] = []


class RegisteredModelAnswer(msgspec.Struct):
    registered_model: RegisteredModel


class CreateModel(msgspec.Struct):
    name: Required
    tags: list[KeyValue] = []
    description: str = ""


class ModelName(msgspec.Struct):
    name: Required


class RenameModel(msgspec.Struct):
    name: Required
    new_name: Required


class UpdateModel(msgspec.Struct):
    name: Required
    description: str = ""


class SearchModels(msgspec.Struct):
    filter: str = ""
    max_results: int = 100
    order_by: list[str] = []
    page_token: str = ""


class SearchModelsAnswer(msgspec.Struct, omit_defaults=True):
    registered_models: list[RegisteredModel] = []
    next_page_token: str | None = None


class GetLatestVersions(msgspec.Struct):
    name: Required
    stages: list[str] = []


class LatestVersionsAnswer(msgspec.Struct, omit_defaults=True):
    model_versions: list[ModelVersion] = []


class SetTag(msgspec.Struct):
    name: Required
    key: Required
    value: str = ""


class DeleteTag(msgspec.Struct):
    name: Required
    key: Required


class SetAlias(msgspec.Struct):
    name: Required
    alias: Required
    version: Required


class AliasName(msgspec.Struct):
    name: Required
    alias: Required


@routes.add("POST", "registered-models/create", CreateModel, Role.WRITE)
async def create(call: Call, message: CreateModel) -> RegisteredModelAnswer:
    return _answer(
        await call.services.registered_models.create(
            call.tenant,
            message.name,
            description=message.description,
            tags=tags_by_key(message.tags),
        )
    )


@routes.add("GET", "registered-models/get", ModelName, Role.READ)
async def get(call: Call, message: ModelName) -> RegisteredModelAnswer:
    return _answer(await call.services.registered_models.get(call.tenant, message.name))


@routes.add("PATCH", "registered-models/update", UpdateModel, Role.WRITE)
async def update(call: Call, message: UpdateModel) -> RegisteredModelAnswer:
    return _answer(
        await call.services.registered_models.update(
            call.tenant, message.name, description=message.description
        )
    )


@routes.add("POST", "registered-models/rename", RenameModel, Role.WRITE)
async def rename(call: Call, message: RenameModel) -> RegisteredModelAnswer:
    return _answer(
        await call.services.registered_models.rename(call.tenant, message.name, message.new_name)
    )


@routes.add("DELETE", "registered-models/delete", ModelName, Role.WRITE)
async def delete(call: Call, message: ModelName) -> Empty:
    await call.services.registered_models.delete(call.tenant, message.name)
    return Empty()


@routes.add("GET", "registered-models/search", SearchModels, Role.READ)
async def search(call: Call, message: SearchModels) -> SearchModelsAnswer:
    models, token = await call.services.registered_models.search(
        call.tenant,
        filter=message.filter,
        order_by=message.order_by,
        limit=page_size(message.max_results, MAX_RESULTS),
        page_token=message.page_token or None,
    )
    return SearchModelsAnswer([_message(model) for model in models], token)


@routes.add("POST", "registered-models/get-latest-versions", GetLatestVersions, Role.READ)
@routes.add("GET", "registered-models/get-latest-versions", GetLatestVersions, Role.READ)
async def get_latest_versions(call: Call, message: GetLatestVersions) -> LatestVersionsAnswer:
    found = await call.services.registered_models.latest_versions(
        call.tenant, message.name, message.stages
    )
    return LatestVersionsAnswer([version_message(version) for version in found])


@routes.add("POST", "registered-models/set-tag", SetTag, Role.WRITE)
async def set_tag(call: Call, message: SetTag) -> Empty:
    await call.services.registered_models.set_tag(
        call.tenant, message.name, message.key, message.value
    )
    return Empty()


@routes.add("DELETE", "registered-models/delete-tag", DeleteTag, Role.WRITE)
async def delete_tag(call: Call, message: DeleteTag) -> Empty:
    await call.services.registered_models.delete_tag(call.tenant, message.name, message.key)
    return Empty()


@routes.add("POST", "registered-models/alias", SetAlias, Role.WRITE)
async def set_alias(call: Call, message: SetAlias) -> Empty:
    await call.services.registered_models.set_alias(
        call.tenant, message.name, message.alias, message.version
    )
    return Empty()


@routes.add("DELETE", "registered-models/alias", AliasName, Role.WRITE)
async def delete_alias(call: Call, message: AliasName) -> Empty:
    await call.services.registered_models.delete_alias(call.tenant, message.name, message.alias)
    return Empty()


@routes.add("GET", "registered-models/alias", AliasName, Role.READ)
async def get_version_by_alias(call: Call, message: AliasName) -> ModelVersionAnswer:
    found = await call.services.registered_models.version_by_alias(
        call.tenant, message.name, message.alias
    )
    return ModelVersionAnswer(version_message(found))


def _answer(model: entities.RegisteredModel) -> RegisteredModelAnswer:
    return RegisteredModelAnswer(_message(model))


def _message(model: entities.RegisteredModel) -> RegisteredModel:
    return RegisteredModel(
        name=model.name,
        creation_timestamp=model.creation_time,
        last_updated_timestamp=model.last_updated_time,
        description=model.description or "",
        latest_versions=[version_message(version) for version in model.latest_versions],
        tags=key_values(model.tags),
        aliases=[Alias(alias, str(version)) for alias, version in model.aliases.items()],
    )
