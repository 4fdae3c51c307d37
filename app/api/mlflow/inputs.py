"""What went into a run and came out of it: datasets and logged models."""

import msgspec

from app.api.mlflow.messages import KeyValue, Required, experiment_id, pairs, strings
from app.api.mlflow.router import Call, Empty, Routes
from app.kernel import validation
from app.kernel.principal import Role
from app.runs import entities

routes = Routes()

# The profile of a dataset has up to 16 MiB, and more bytes than that as JSON.
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
    validation.at_most(len(message.datasets), MAX_INPUTS, "datasets")
    validation.at_most(len(message.models), MAX_INPUTS, "models")
    await call.services.inputs.log_inputs(
        call.tenant,
        message.run_id,
        datasets=[_dataset_input(one) for one in message.datasets],
        models=[one.model_id for one in message.models],
    )
    return Empty()


@routes.add("POST", "runs/outputs", LogOutputs, Role.WRITE)
async def log_outputs(call: Call, message: LogOutputs) -> Empty:
    validation.at_most(len(message.models), MAX_INPUTS, "models")
    await call.services.inputs.log_outputs(
        call.tenant,
        message.run_id,
        [entities.ModelLink(one.model_id, one.step) for one in message.models],
    )
    return Empty()


@routes.add("POST", "experiments/search-datasets", SearchDatasets, Role.READ)
async def search_datasets(call: Call, message: SearchDatasets) -> SearchDatasetsAnswer:
    found = await call.services.inputs.search_datasets(
        call.tenant, [experiment_id(one) for one in message.experiment_ids]
    )
    return SearchDatasetsAnswer(
        [DatasetSummary(str(one.experiment_id), one.name, one.digest, one.context) for one in found]
    )


def shown_inputs(run: entities.Run) -> RunInputs:
    """`inputs` of a run; MLflow shows it even where it is empty."""
    return RunInputs(
        [_shown_dataset(one) for one in run.dataset_inputs],
        [ModelInput(one.model_id) for one in run.model_inputs],
    )


def shown_outputs(run: entities.Run) -> RunOutputs:
    """`outputs` of a run; MLflow shows it even where it is empty."""
    return RunOutputs([ModelOutput(one.model_id, one.step) for one in run.model_outputs])


def _shown_dataset(one: entities.DatasetInput) -> DatasetInput:
    return DatasetInput(
        Dataset(
            name=one.name,
            digest=one.digest,
            source_type=one.source_type,
            source=one.source,
            # MLflow leaves out the empty ones, too.
            schema=one.schema or None,
            profile=one.profile or None,
        ),
        pairs(one.tags),
    )


def _dataset_input(one: DatasetInput) -> entities.DatasetInput:
    dataset = one.dataset
    return entities.DatasetInput(
        name=dataset.name,
        digest=dataset.digest,
        source_type=dataset.source_type,
        source=dataset.source,
        schema=dataset.schema,
        profile=dataset.profile,
        tags=strings(one.tags),
    )
