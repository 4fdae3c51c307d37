"""MLflow's logged models."""

import msgspec

from app.api.mlflow.artifacts import ListArtifactsAnswer, listing
from app.api.mlflow.fields import (
    KeyValue,
    Required,
    enum_name,
    experiment_id,
    json_double,
    key_values,
    page_size,
    params_by_key,
    tags_by_key,
)
from app.api.mlflow.router import Call, Empty, Routes
from app.api.streamed_json import StreamedJson
from app.artifacts.paths import path_to_read
from app.kernel import validation
from app.kernel.principal import Role
from app.logged_models import entities
from app.logged_models.search import DatasetFilter, ModelOrder

routes = Routes()

# The defaults are MLflow's: for a message without `max_results`, and for one with 0. MLflow has no
# upper limit.
DEFAULT_RESULTS, RESULTS_FOR_ZERO, MAX_RESULTS = 50, 100, 50_000

# MLflow's client sends a hundred params at a time, of up to 65,535 characters each.
_MAX_PARAMS_BYTES = 8 << 20
_MAX_DATASETS = 100  # each adds a condition to the statement


class Metric(msgspec.Struct, omit_defaults=True):
    key: str
    value: float | str
    timestamp: int
    step: int
    model_id: str
    run_id: str
    dataset_name: str | None = None
    dataset_digest: str | None = None


class ModelInfo(msgspec.Struct, omit_defaults=True):
    model_id: str
    experiment_id: str
    name: str
    creation_timestamp_ms: int
    last_updated_timestamp_ms: int
    artifact_uri: str
    status: str
    model_type: str
    source_run_id: str
    tags: list[KeyValue] = []


class ModelData(msgspec.Struct, omit_defaults=True):
    params: list[KeyValue] = []
    metrics: list[Metric] = []


class LoggedModel(msgspec.Struct):
    info: ModelInfo
    data: ModelData


class ModelAnswer(msgspec.Struct):
    model: LoggedModel


class CreateModel(msgspec.Struct):
    experiment_id: Required
    name: str = ""
    model_type: str = ""
    source_run_id: str = ""
    params: list[KeyValue] = []
    tags: list[KeyValue] = []


class GetModel(msgspec.Struct):
    model_id: str
    allow_deleted: str = "false"


class FinalizeModel(msgspec.Struct):
    model_id: str
    status: str | int


class ModelId(msgspec.Struct):
    model_id: str


class SetTags(msgspec.Struct):
    model_id: str
    tags: list[KeyValue] = []


class DeleteTag(msgspec.Struct):
    model_id: str
    tag_key: str


class LogParams(msgspec.Struct):
    model_id: str
    params: list[KeyValue] = []


class SearchDataset(msgspec.Struct):
    dataset_name: str = ""
    dataset_digest: str | None = None


class SearchOrder(msgspec.Struct):
    field_name: str = ""
    ascending: bool = True
    dataset_name: str | None = None
    dataset_digest: str | None = None


class SearchModels(msgspec.Struct):
    experiment_ids: list[str]
    filter: str = ""
    datasets: list[SearchDataset] = []
    max_results: int = DEFAULT_RESULTS
    order_by: list[SearchOrder] = []
    page_token: str = ""


class SearchModelsAnswer(msgspec.Struct, omit_defaults=True):
    models: list[LoggedModel] = []
    next_page_token: str | None = None


class ListArtifacts(msgspec.Struct):
    model_id: str
    artifact_directory_path: str = ""
    page_token: str = ""


@routes.add(
    "POST",
    "logged-models",
    CreateModel,
    Role.WRITE,
    max_body_bytes=_MAX_PARAMS_BYTES,
)
async def create(call: Call, message: CreateModel) -> ModelAnswer:
    model = await call.services.models.create(
        call.tenant,
        experiment_id(message.experiment_id),
        name=message.name,
        model_type=message.model_type,
        source_run_id=message.source_run_id,
        params=params_by_key(message.params),
        tags=tags_by_key(message.tags),
    )
    return ModelAnswer(_message(model))


@routes.add("GET", "logged-models/{model_id}", GetModel, Role.READ)
async def get(call: Call, message: GetModel) -> ModelAnswer:
    model = await call.services.models.get(
        call.tenant, message.model_id, allow_deleted=message.allow_deleted.lower() == "true"
    )
    return ModelAnswer(_message(model))


@routes.add("PATCH", "logged-models/{model_id}", FinalizeModel, Role.WRITE)
async def finalize(call: Call, message: FinalizeModel) -> ModelAnswer:
    model = await call.services.models.finalize(
        call.tenant, message.model_id, enum_name("status", message.status, entities.STATUSES)
    )
    return ModelAnswer(_message(model))


@routes.add("DELETE", "logged-models/{model_id}", ModelId, Role.WRITE)
async def delete(call: Call, message: ModelId) -> Empty:
    await call.services.models.delete(call.tenant, message.model_id)
    return Empty()


@routes.add("POST", "logged-models/search", SearchModels, Role.READ)
async def search(call: Call, message: SearchModels) -> SearchModelsAnswer:
    validation.at_most(len(message.datasets), _MAX_DATASETS, "datasets")
    models, token = await call.services.models.search(
        call.tenant,
        [experiment_id(given) for given in message.experiment_ids],
        filter=message.filter,
        order_by=[
            ModelOrder(key.field_name, key.ascending, key.dataset_name, key.dataset_digest)
            for key in message.order_by
        ],
        datasets=[
            DatasetFilter(dataset.dataset_name, dataset.dataset_digest or None)
            for dataset in message.datasets
        ],
        limit=page_size(message.max_results, MAX_RESULTS, RESULTS_FOR_ZERO),
        page_token=message.page_token or None,
    )
    return SearchModelsAnswer([_message(model) for model in models], token)


@routes.add("PATCH", "logged-models/{model_id}/tags", SetTags, Role.WRITE)
async def set_tags(call: Call, message: SetTags) -> Empty:
    await call.services.models.set_tags(call.tenant, message.model_id, tags_by_key(message.tags))
    return Empty()


@routes.add("DELETE", "logged-models/{model_id}/tags/{tag_key}", DeleteTag, Role.WRITE)
async def delete_tag(call: Call, message: DeleteTag) -> Empty:
    await call.services.models.delete_tag(call.tenant, message.model_id, message.tag_key)
    return Empty()


@routes.add(
    "POST",
    "logged-models/{model_id}/params",
    LogParams,
    Role.WRITE,
    max_body_bytes=_MAX_PARAMS_BYTES,
)
async def log_params(call: Call, message: LogParams) -> Empty:
    await call.services.models.log_params(
        call.tenant, message.model_id, params_by_key(message.params)
    )
    return Empty()


@routes.add("GET", "logged-models/{model_id}/artifacts/directories", ListArtifacts, Role.READ)
async def list_artifacts(call: Call, message: ListArtifacts) -> ListArtifactsAnswer | StreamedJson:
    given = message.artifact_directory_path
    path = path_to_read(given, allow_root=True)
    model = await call.services.models.locate(call.tenant, message.model_id)
    return await listing(call, model, path, given, message.page_token)


def _message(model: entities.LoggedModel) -> LoggedModel:
    return LoggedModel(
        ModelInfo(
            model_id=model.model_id,
            experiment_id=str(model.experiment_id),
            name=model.name,
            creation_timestamp_ms=model.creation_time,
            last_updated_timestamp_ms=model.last_updated_time,
            artifact_uri=model.artifact_uri,
            status=model.status,
            model_type=model.model_type,
            source_run_id=model.source_run_id,
            tags=key_values(model.tags),
        ),
        ModelData(key_values(model.params), [_metric(model, metric) for metric in model.metrics]),
    )


def _metric(model: entities.LoggedModel, metric: entities.ModelMetric) -> Metric:
    return Metric(
        key=metric.key,
        value=json_double(metric.value),
        timestamp=metric.timestamp,
        step=metric.step,
        model_id=model.model_id,
        run_id=metric.run_id.hex,
        dataset_name=metric.dataset_name or None,
        dataset_digest=metric.dataset_digest or None,
    )
