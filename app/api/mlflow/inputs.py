"""MLflow's inputs and outputs of runs: datasets and logged models."""

import msgspec

from app.api.mlflow.fields import (
    KeyValue,
    Required,
    check_run_id,
    experiment_id,
    key_values,
    tags_by_key,
)
from app.api.mlflow.router import Call, Empty, Routes
from app.kernel import validation
from app.kernel.principal import Role
from app.runs import entities

routes = Routes()

# The profile of a dataset may have 16 MiB, which are more bytes in JSON.
MAX_INPUTS_BYTES = 32 << 20
MAX_INPUTS = 1_000


class Dataset(msgspec.Struct, omit_defaults=True):
    """The fields that MLflow's message marks as required have no default here."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None


class DatasetInput(msgspec.Struct, omit_defaults=True):
    dataset: Dataset
    tags: list[KeyValue] = []


class ModelInput(msgspec.Struct):
    model_id: str


class ModelOutput(msgspec.Struct):
    model_id: str
    step: int = 0


class RunInputs(msgspec.Struct, omit_defaults=True):
    dataset_inputs: list[DatasetInput] = []
    model_inputs: list[ModelInput] = []


class RunOutputs(msgspec.Struct, omit_defaults=True):
    model_outputs: list[ModelOutput] = []


class LogInputs(msgspec.Struct):
    run_id: Required
    datasets: list[DatasetInput] = []
    models: list[ModelInput] = []


class LogOutputs(msgspec.Struct):
    run_id: Required
    models: list[ModelOutput]


class SearchDatasets(msgspec.Struct):
    experiment_ids: list[str] = []


class DatasetSummary(msgspec.Struct, omit_defaults=True):
    experiment_id: str
    name: str
    digest: str
    context: str | None = None


class SearchDatasetsAnswer(msgspec.Struct, omit_defaults=True):
    dataset_summaries: list[DatasetSummary] = []


@routes.add("POST", "runs/log-inputs", LogInputs, Role.WRITE, max_body_bytes=MAX_INPUTS_BYTES)
async def log_inputs(call: Call, message: LogInputs) -> Empty:
    check_run_id(message.run_id)
    validation.at_most(len(message.datasets), MAX_INPUTS, "datasets")
    validation.at_most(len(message.models), MAX_INPUTS, "models")
    await call.services.inputs.log_inputs(
        call.tenant,
        message.run_id,
        datasets=[_dataset_input(given) for given in message.datasets],
        models=[model.model_id for model in message.models],
    )
    return Empty()


@routes.add("POST", "runs/outputs", LogOutputs, Role.WRITE)
async def log_outputs(call: Call, message: LogOutputs) -> Empty:
    validation.at_most(len(message.models), MAX_INPUTS, "models")
    await call.services.inputs.log_outputs(
        call.tenant,
        message.run_id,
        [entities.ModelLink(model.model_id, model.step) for model in message.models],
    )
    return Empty()


@routes.add("POST", "experiments/search-datasets", SearchDatasets, Role.READ)
async def search_datasets(call: Call, message: SearchDatasets) -> SearchDatasetsAnswer:
    found = await call.services.inputs.search_datasets(
        call.tenant, [experiment_id(given) for given in message.experiment_ids]
    )
    return SearchDatasetsAnswer(
        [
            DatasetSummary(
                str(dataset.experiment_id), dataset.name, dataset.digest, dataset.context
            )
            for dataset in found
        ]
    )


def run_inputs(run: entities.Run) -> RunInputs:
    """The `inputs` of a run, which MLflow sends even if they are empty."""
    return RunInputs(
        [_dataset_message(dataset) for dataset in run.dataset_inputs],
        [ModelInput(model.model_id) for model in run.model_inputs],
    )


def run_outputs(run: entities.Run) -> RunOutputs:
    """The `outputs` of a run, which MLflow sends even if they are empty."""
    return RunOutputs([ModelOutput(model.model_id, model.step) for model in run.model_outputs])


def _dataset_message(dataset: entities.DatasetInput) -> DatasetInput:
    return DatasetInput(
        Dataset(
            name=dataset.name,
            digest=dataset.digest,
            source_type=dataset.source_type,
            source=dataset.source,
            # MLflow leaves out the empty ones, too.
            schema=dataset.schema or None,
            profile=dataset.profile or None,
        ),
        key_values(dataset.tags),
    )


def _dataset_input(given: DatasetInput) -> entities.DatasetInput:
    dataset = given.dataset
    return entities.DatasetInput(
        name=dataset.name,
        digest=dataset.digest,
        source_type=dataset.source_type,
        source=dataset.source,
        schema=dataset.schema,
        profile=dataset.profile,
        tags=tags_by_key(given.tags),
    )
