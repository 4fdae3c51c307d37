"""MLflow's experiments."""

import msgspec

from app.api.mlflow.fields import (
    KeyValue,
    Required,
    experiment_id,
    key_values,
    page_size,
    tags_by_key,
    view_type,
)
from app.api.mlflow.router import Call, Empty, Routes
from app.experiments import entities
from app.kernel.lifecycle import stage
from app.kernel.principal import Role
from app.kernel.tenant import Tenant

routes = Routes()

MAX_RESULTS = 50_000


class Experiment(msgspec.Struct, omit_defaults=True):
    """`workspace` is MLflow's word for a tenant."""

    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    last_update_time: int
    creation_time: int
    workspace: str
    tags: list[KeyValue] = []


class CreateExperiment(msgspec.Struct):
    name: Required
    artifact_location: str = ""
    tags: list[KeyValue] = []


class CreateExperimentAnswer(msgspec.Struct):
    experiment_id: str


class ExperimentId(msgspec.Struct):
    experiment_id: Required


class ExperimentAnswer(msgspec.Struct):
    experiment: Experiment


class GetByName(msgspec.Struct):
    experiment_name: Required


class UpdateExperiment(msgspec.Struct):
    experiment_id: Required
    new_name: Required


class SearchExperiments(msgspec.Struct):
    max_results: int = 1000
    page_token: str = ""
    filter: str = ""
    order_by: list[str] = []
    view_type: str | int = "ACTIVE_ONLY"


class SearchExperimentsAnswer(msgspec.Struct, omit_defaults=True):
    experiments: list[Experiment] = []
    next_page_token: str | None = None


class SetTag(msgspec.Struct):
    experiment_id: Required
    key: Required
    value: str = ""


class DeleteTag(msgspec.Struct):
    experiment_id: Required
    key: Required


@routes.add("POST", "experiments/create", CreateExperiment, Role.WRITE)
async def create(call: Call, message: CreateExperiment) -> CreateExperimentAnswer:
    created = await call.services.experiments.create(
        call.tenant,
        message.name,
        artifact_location=message.artifact_location,
        tags=tags_by_key(message.tags),
    )
    return CreateExperimentAnswer(str(created))


@routes.add("GET", "experiments/get", ExperimentId, Role.READ)
async def get(call: Call, message: ExperimentId) -> ExperimentAnswer:
    found = await call.services.experiments.get(call.tenant, experiment_id(message.experiment_id))
    return ExperimentAnswer(_message(call.tenant, found))


@routes.add("GET", "experiments/get-by-name", GetByName, Role.READ)
async def get_by_name(call: Call, message: GetByName) -> ExperimentAnswer:
    found = await call.services.experiments.get_by_name(call.tenant, message.experiment_name)
    return ExperimentAnswer(_message(call.tenant, found))


@routes.add("POST", "experiments/search", SearchExperiments, Role.READ)
@routes.add("GET", "experiments/search", SearchExperiments, Role.READ)
async def search(call: Call, message: SearchExperiments) -> SearchExperimentsAnswer:
    limit = page_size(message.max_results, MAX_RESULTS)
    found, token = await call.services.experiments.search(
        call.tenant,
        filter=message.filter,
        order_by=message.order_by,
        view=view_type("view_type", message.view_type),
        limit=limit,
        page_token=message.page_token or None,
    )
    return SearchExperimentsAnswer(
        [_message(call.tenant, experiment) for experiment in found], token
    )


@routes.add("POST", "experiments/update", UpdateExperiment, Role.WRITE)
async def update(call: Call, message: UpdateExperiment) -> Empty:
    await call.services.experiments.update(
        call.tenant, experiment_id(message.experiment_id), name=message.new_name
    )
    return Empty()


@routes.add("POST", "experiments/delete", ExperimentId, Role.WRITE)
async def delete(call: Call, message: ExperimentId) -> Empty:
    await call.services.experiments.delete(call.tenant, experiment_id(message.experiment_id))
    return Empty()


@routes.add("POST", "experiments/restore", ExperimentId, Role.WRITE)
async def restore(call: Call, message: ExperimentId) -> Empty:
    await call.services.experiments.restore(call.tenant, experiment_id(message.experiment_id))
    return Empty()


@routes.add("POST", "experiments/set-experiment-tag", SetTag, Role.WRITE)
async def set_tag(call: Call, message: SetTag) -> Empty:
    await call.services.experiments.set_tag(
        call.tenant, experiment_id(message.experiment_id), message.key, message.value
    )
    return Empty()


@routes.add("POST", "experiments/delete-experiment-tag", DeleteTag, Role.WRITE)
async def delete_tag(call: Call, message: DeleteTag) -> Empty:
    await call.services.experiments.delete_tag(
        call.tenant, experiment_id(message.experiment_id), message.key
    )
    return Empty()


def _message(tenant: Tenant, experiment: entities.Experiment) -> Experiment:
    return Experiment(
        experiment_id=str(experiment.experiment_id),
        name=experiment.name,
        artifact_location=experiment.artifact_uri,
        lifecycle_stage=stage(experiment.deleted_time),
        last_update_time=experiment.last_update_time,
        creation_time=experiment.creation_time,
        workspace=tenant.slug,
        tags=key_values(experiment.tags),
    )
