"""The rules of what goes into a run and comes out of it: datasets and logged models."""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

import msgspec
import psycopg

from app.db.binary_arrays import big_integers
from app.db.database import Database
from app.kernel import validation
from app.kernel.errors import (
    InvalidValueError,
    LoggedModelNotFoundError,
    RunNotActiveError,
    RunNotFoundError,
)
from app.kernel.ids import is_model_id, new_uuid, parse_experiment_id, parse_run_id
from app.kernel.tenant import Tenant
from app.runs import inputs_sql as sql
from app.runs.entities import DatasetInput, ModelLink
from app.runs.repository import one
from app.runs.sql import FIND_MODELS

# What MLflow 3.17 takes (mlflow.utils.validation), or its columns do.
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

# The tag that says what a dataset was used for.
CONTEXT_TAG = "mlflow.data.context"


class DatasetSummary(msgspec.Struct):
    """A dataset of an experiment, and what a run used it for, such as `training`."""

    experiment_id: int
    name: str
    digest: str
    context: str | None


class Inputs:
    """Nothing logged here counts twice: a retried request changes nothing."""

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
        """Add datasets, with the tags of each, and logged models to an active run, or nothing.

        A dataset is known by its name and digest: of two that share them the first counts, be it
        from an earlier call, and an input of the run keeps the tags that it was first logged with.
        Raises NotFoundError for a run or a model that is not the tenant's.
        """
        _check_datasets(datasets)
        distinct = {(d.name, d.digest): d for d in reversed(datasets)}
        async with self._database.write_pipeline(tenant) as connection:
            experiment_id = await _lock_active(connection, tenant, run_id)
            await _link(connection, tenant, run_id, "input", dict.fromkeys(models, 0))
            if distinct:
                ordered = [distinct[key] for key in sorted(distinct)]
                await _add_datasets(connection, tenant, run_id, experiment_id, ordered)

    async def log_outputs(self, tenant: Tenant, run_id: str, models: Sequence[ModelLink]) -> None:
        """Add logged models to what an active run put out.

        Raises NotFoundError for a run or a model that is not the tenant's.
        """
        for index, model in enumerate(models):
            validation.int64(model.step, f"models[{index}].step")
        steps = {model.model_id: model.step for model in models}
        async with self._database.write_pipeline(tenant) as connection:
            await _lock_active(connection, tenant, run_id)
            await _link(connection, tenant, run_id, "output", steps)

    async def search_datasets(
        self, tenant: Tenant, experiment_ids: Sequence[str]
    ) -> list[DatasetSummary]:
        """At most 1000 datasets that runs of the experiments used, once for each context."""
        _check_count(experiment_ids)
        # Those that can be no experiment's have no datasets.
        numbers = [n for text in experiment_ids if (n := parse_experiment_id(text)) is not None]
        async with self._database.read_pipeline(tenant) as connection:
            cursor = await connection.execute(
                sql.SEARCH_DATASETS,
                {
                    "tenant": tenant.id,
                    "experiments": big_integers(numbers),
                    "context": CONTEXT_TAG,
                    "limit": MAX_SUMMARIES,
                },
            )
            return [DatasetSummary(*row) for row in await cursor.fetchall()]


async def _lock_active(connection: psycopg.AsyncConnection, tenant: Tenant, run_id: str) -> int:
    """The experiment of a run that is active, and stays so until the transaction ends."""
    number = parse_run_id(run_id)
    if number is None:
        raise RunNotFoundError(run_id)
    row = await one(connection, sql.LOCK_RUN, tenant=tenant.id, run=number)
    if row is None:
        raise RunNotFoundError(run_id)
    experiment_id, deleted_time = row
    if deleted_time is not None:
        raise RunNotActiveError(run_id, deleted_time)
    return int(experiment_id)


async def _link(
    connection: psycopg.AsyncConnection,
    tenant: Tenant,
    run_id: str,
    direction: str,
    steps: Mapping[str, int],
) -> None:
    """Link models, by id, with their steps."""
    if not steps:
        return
    await _check_models(connection, tenant, steps)
    await connection.execute(
        sql.LINK_MODELS,
        {
            "tenant": tenant.id,
            "run": UUID(run_id),
            "direction": direction,
            "models": list(steps),
            "steps": big_integers(steps.values()),
        },
    )


async def _check_models(
    connection: psycopg.AsyncConnection, tenant: Tenant, model_ids: Iterable[str]
) -> None:
    for model_id in model_ids:
        if not is_model_id(model_id):
            raise LoggedModelNotFoundError(model_id)
    cursor = await connection.execute(FIND_MODELS, {"tenant": tenant.id, "models": list(model_ids)})
    found = {row[0] for row in await cursor.fetchall()}
    for model_id in model_ids:
        if model_id not in found:
            raise LoggedModelNotFoundError(model_id)


async def _add_datasets(
    connection: psycopg.AsyncConnection,
    tenant: Tenant,
    run_id: str,
    experiment_id: int,
    datasets: Sequence[DatasetInput],
) -> None:
    tags = [
        (number, key, value)
        for number, dataset in enumerate(datasets, 1)
        for key, value in dataset.tags.items()
    ]
    values = {
        "tenant": tenant.id,
        "experiment": experiment_id,
        "names": [dataset.name for dataset in datasets],
        "digests": [dataset.digest for dataset in datasets],
    }
    await connection.execute(
        sql.ADD_DATASETS,
        values
        | {
            "ids": [new_uuid() for _ in datasets],
            "source_types": [dataset.source_type for dataset in datasets],
            "sources": [dataset.source for dataset in datasets],
            "schemas": [dataset.schema for dataset in datasets],
            "profiles": [dataset.profile for dataset in datasets],
        },
    )
    await connection.execute(
        sql.ADD_INPUTS,
        values
        | {
            "run": UUID(run_id),
            "tag_numbers": big_integers(number for number, _, _ in tags),
            "tag_keys": [key for _, key, _ in tags],
            "tag_values": [value for _, _, value in tags],
        },
    )


def _check_datasets(datasets: Sequence[DatasetInput]) -> None:
    """Raises InvalidValueError for the first text that is too long or cannot be stored."""
    for index, dataset in enumerate(datasets):
        for name, limit in DATASET_LIMITS.items():
            _check(getattr(dataset, name), f"datasets[{index}].dataset.", name, limit)
        for key, value in dataset.tags.items():
            _check(key, f"datasets[{index}].tags.", "key", MAX_TAG_KEY_LENGTH)
            _check(value, f"datasets[{index}].tags.", "value", MAX_TAG_VALUE_LENGTH)


def _check(value: str | None, place: str, name: str, limit: int) -> None:
    if value is None:
        return
    validation.text(value, place + name)
    if len(value) > limit:
        # MLflow's words have the bare name.
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
