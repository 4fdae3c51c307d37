"""The rules for what a run takes in and puts out: datasets and logged models."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import msgspec

from app.db.database import Database
from app.db.pipeline import Pipeline
from app.kernel import validation
from app.kernel.errors import (
    InvalidValueError,
    LoggedModelNotFoundError,
    RunNotActiveError,
    RunNotFoundError,
)
from app.kernel.ids import is_model_id, parse_experiment_id
from app.kernel.tenant import Tenant
from app.runs import inputs_repository, repository
from app.runs.entities import DatasetInput, ModelLink
from app.runs.validation import run_uuid

# The limits of MLflow 3.17 (mlflow.utils.validation), or of its columns, in characters.
DATASET_LIMITS = {
    "name": 500,
    "digest": 36,
    "source_type": 250,
    "source": 65_535,
    "schema": 1_048_575,
    "profile": 16_777_215,
}
MAX_TAG_KEY_LENGTH = 255
MAX_TAG_VALUE_LENGTH = 500
MAX_EXPERIMENTS_PER_SEARCH = 20
MAX_SUMMARIES = 1000

# The tag of an input that says what the dataset was used for.
CONTEXT_TAG = "mlflow.data.context"


class DatasetSummary(msgspec.Struct):
    """A dataset of an experiment, and what a run used it for, such as `training`."""

    experiment_id: int
    name: str
    digest: str
    context: str | None


class Inputs:
    """Logs the inputs and outputs of runs. Every method is idempotent."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def log_inputs(
        self,
        tenant: Tenant,
        run_id: str,
        *,
        datasets: Sequence[DatasetInput] = (),
        models: Sequence[str] = (),
    ) -> None:
        """Add datasets, with their tags, and logged models to an active run, all or nothing.

        A dataset is identified by its name and digest. The first one logged to an experiment is
        kept, and an input of a run keeps the tags that it was first logged with.

        Raises InvalidValueError for a text that is too long or cannot be stored, RunNotFoundError,
        RunNotActiveError, and LoggedModelNotFoundError.
        """
        _check_datasets(datasets)
        distinct = {(d.name, d.digest): d for d in reversed(datasets)}
        async with self._database.write_pipeline(tenant) as connection:
            number, experiment_id = await _lock_active(connection, tenant, run_id)
            await _link_models(connection, tenant, number, "input", dict.fromkeys(models, 0))
            if distinct:
                ordered = [distinct[key] for key in sorted(distinct)]
                await inputs_repository.insert_datasets(
                    connection, tenant, number, experiment_id, ordered
                )

    async def log_outputs(self, tenant: Tenant, run_id: str, models: Sequence[ModelLink]) -> None:
        """Add logged models to the outputs of an active run; a later step replaces an earlier one.

        Raises InvalidValueError for a step out of range, RunNotFoundError, RunNotActiveError, and
        LoggedModelNotFoundError.
        """
        for index, model in enumerate(models):
            validation.int64(model.step, f"models[{index}].step")
        steps = {model.model_id: model.step for model in models}
        async with self._database.write_pipeline(tenant) as connection:
            number, _ = await _lock_active(connection, tenant, run_id)
            await _link_models(connection, tenant, number, "output", steps)

    async def search_datasets(
        self, tenant: Tenant, experiment_ids: Sequence[str]
    ) -> list[DatasetSummary]:
        """At most 1000 datasets that runs of the experiments used, once for each context.

        An experiment that does not exist has none. Raises InvalidValueError for no experiments, or
        for too many.
        """
        _check_count(experiment_ids)
        ids = [n for text in experiment_ids if (n := parse_experiment_id(text)) is not None]
        async with self._database.read_pipeline(tenant) as connection:
            rows = await inputs_repository.search_datasets(
                connection, tenant, ids, context_tag=CONTEXT_TAG, limit=MAX_SUMMARIES
            )
            return [DatasetSummary(*row) for row in rows]


async def _lock_active(connection: Pipeline, tenant: Tenant, run_id: str) -> tuple[UUID, int]:
    """The ids of an active run and of its experiment; the run is locked until the commit."""
    number = run_uuid(run_id)
    row = await inputs_repository.lock_run(connection, tenant, number)
    if row is None:
        raise RunNotFoundError(run_id)
    experiment_id, deleted_time = row
    if deleted_time is not None:
        raise RunNotActiveError(run_id, deleted_time)
    return number, experiment_id


async def _link_models(
    connection: Pipeline,
    tenant: Tenant,
    run_id: UUID,
    direction: str,
    steps: Mapping[str, int],
) -> None:
    """Link models, by id, with their steps. Raises LoggedModelNotFoundError."""
    if steps:
        await _check_models(connection, tenant, steps.keys())
        await inputs_repository.link_models(connection, tenant, run_id, direction, steps)


async def _check_models(connection: Pipeline, tenant: Tenant, model_ids: Collection[str]) -> None:
    """Raises LoggedModelNotFoundError for the first model that does not exist."""
    for model_id in model_ids:
        if not is_model_id(model_id):
            raise LoggedModelNotFoundError(model_id)
    cursor = await repository.find_models(connection, tenant, model_ids)
    found = {row[0] for row in await cursor.fetchall()}
    for model_id in model_ids:
        if model_id not in found:
            raise LoggedModelNotFoundError(model_id)


def _check_datasets(datasets: Sequence[DatasetInput]) -> None:
    """Raises InvalidValueError for the first text that is too long or cannot be stored."""
    for index, dataset in enumerate(datasets):
        for name, limit in DATASET_LIMITS.items():
            _check_text(getattr(dataset, name), f"datasets[{index}].dataset.", name, limit)
        for key, value in dataset.tags.items():
            _check_text(key, f"datasets[{index}].tags.", "key", MAX_TAG_KEY_LENGTH)
            _check_text(value, f"datasets[{index}].tags.", "value", MAX_TAG_VALUE_LENGTH)


def _check_text(value: str | None, place: str, name: str, limit: int) -> None:
    if value is None:
        return
    validation.text(value, place + name)
    if len(value) > limit:
        # MLflow's message has the name without its place.
        raise InvalidValueError(validation.too_long(name, limit).message, field=place + name)


def _check_count(experiment_ids: Sequence[str]) -> None:
    if not experiment_ids:
        raise InvalidValueError(
            "SearchDatasets request must specify at least one experiment_id.",
            field="experiment_ids",
        )
    if len(experiment_ids) > MAX_EXPERIMENTS_PER_SEARCH:
        raise InvalidValueError(
            "SearchDatasets request cannot specify more than"
            f" {MAX_EXPERIMENTS_PER_SEARCH} experiment_ids."
            f" Received {len(experiment_ids)} experiment_ids.",
            field="experiment_ids",
        )
