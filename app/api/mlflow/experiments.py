"""MLflow's experiments."""

import msgspec

from app.api.mlflow.common import KeyValue, page_size, pairs, strings
from app.api.mlflow.router import Call, Empty, Routes
from app.experiments import entities
from app.lifecycle import ViewType, stage

routes = Routes()

MAX_RESULTS = 50_000


class Experiment(msgspec.Struct, omit_defaults=True):
    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    last_update_time: int
    creation_time: int
    tags: list[KeyValue] = []


class CreateExperiment(msgspec.Struct):
    name: str
    artifact_location: str = ""
    tags: list[KeyValue] = []


class ExperimentId(msgspec.Struct):
    experiment_id: str


class ExperimentAnswer(msgspec.Struct):
    experiment: Experiment


class GetByName(msgspec.Struct):
    experiment_name: str


class UpdateExperiment(msgspec.Struct):
    experiment_id: str
    new_name: str = ""


class SearchExperiments(msgspec.Struct):
    max_results: int = 1000
    page_token: str = ""
    filter: str = ""
    order_by: list[str] = []
    view_type: ViewType = "ACTIVE_ONLY"


class SearchExperimentsAnswer(msgspec.Struct, omit_defaults=True):
    experiments: list[Experiment] = []
    next_page_token: str | None = None


class SetTag(msgspec.Struct):
    experiment_id: str
    key: str
    value: str


class DeleteTag(msgspec.Struct):
    experiment_id: str
    key: str


@routes.add("POST", "experiments/create", CreateExperiment, writes=True)
async def create(call: Call, message: CreateExperiment) -> ExperimentId:
    experiment_id = await call.services.experiments.create(
        call.tenant,
        message.name,
        artifact_location=message.artifact_location,
        tags=strings(message.tags),
    )
    return ExperimentId(str(experiment_id))


@routes.add("GET", "experiments/get", ExperimentId)
async def get(call: Call, message: ExperimentId) -> ExperimentAnswer:
    found = await call.services.experiments.get(call.tenant, message.experiment_id)
    return ExperimentAnswer(_shown(found))


@routes.add("GET", "experiments/get-by-name", GetByName)
async def get_by_name(call: Call, message: GetByName) -> ExperimentAnswer:
    found = await call.services.experiments.get_by_name(call.tenant, message.experiment_name)
    return ExperimentAnswer(_shown(found))


@routes.add("POST", "experiments/search", SearchExperiments)
@routes.add("GET", "experiments/search", SearchExperiments)
async def search(call: Call, message: SearchExperiments) -> SearchExperimentsAnswer:
    limit = page_size(message.max_results, MAX_RESULTS)
    found, token = await call.services.experiments.search(
        call.tenant,
        filter=message.filter,
        order_by=message.order_by,
        view=message.view_type,
        limit=limit,
        page_token=message.page_token or None,
    )
    return SearchExperimentsAnswer([_shown(one) for one in found], token)


@routes.add("POST", "experiments/update", UpdateExperiment)
async def update(call: Call, message: UpdateExperiment) -> Empty:
    if message.new_name:
        await call.services.experiments.update(
            call.tenant, message.experiment_id, name=message.new_name
        )
    return Empty()


@routes.add("POST", "experiments/delete", ExperimentId)
async def delete(call: Call, message: ExperimentId) -> Empty:
    await call.services.experiments.delete(call.tenant, message.experiment_id)
    return Empty()


@routes.add("POST", "experiments/restore", ExperimentId)
async def restore(call: Call, message: ExperimentId) -> Empty:
    await call.services.experiments.restore(call.tenant, message.experiment_id)
    return Empty()


@routes.add("POST", "experiments/set-experiment-tag", SetTag, writes=True)
async def set_tag(call: Call, message: SetTag) -> Empty:
    await call.services.experiments.set_tag(
        call.tenant, message.experiment_id, message.key, message.value
    )
    return Empty()


@routes.add("POST", "experiments/delete-experiment-tag", DeleteTag)
async def delete_tag(call: Call, message: DeleteTag) -> Empty:
    await call.services.experiments.delete_tag(call.tenant, message.experiment_id, message.key)
    return Empty()


def _shown(experiment: entities.Experiment) -> Experiment:
    return Experiment(
        experiment_id=str(experiment.experiment_id),
        name=experiment.name,
        artifact_location=experiment.artifact_uri,
        lifecycle_stage=stage(experiment.deleted_time),
        last_update_time=experiment.last_update_time,
        creation_time=experiment.creation_time,
        tags=pairs(experiment.tags),
    )
