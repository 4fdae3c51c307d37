"""Runs in SQL: reads and writes of runs by the statements of `app.runs.sql`.

What requests log to runs is written by `app.runs.batch_writer`.

A function that returns a cursor only queues its statement in the pipeline of the connection. The
rows cost no round trip of their own if they are fetched after the pipeline has ended.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy import update as update_rows
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.pipeline import Cursor, Pipeline
from app.db.tables.runs import Run as RunRow
from app.kernel.artifact_uris import RunLocation, run_artifact_uri
from app.kernel.tenant import Tenant
from app.metrics.entities import LatestMetric
from app.metrics.sql import READ_LATEST_METRICS, SET_SETTLED_VALUES
from app.runs import sql
from app.runs.entities import DatasetInput, ModelLink, Run
from app.search.page import CompiledPage


async def read(
    connection: Pipeline,
    tenant: Tenant,
    ids: Sequence[UUID],
    *,
    shortened: bool = False,
) -> list[Run]:
    """The runs of those ids that exist, in the order of the ids, with all that belongs to them.

    With `shortened`, long values of params and tags are cut to SHORTENED_LENGTH and an ellipsis.

    Takes one round trip. The connection is in a snapshot or holds the runs' locks, so that each run
    is read as it was at one moment.
    """
    values = {"tenant": tenant.id, "runs": list(ids)}
    cursors = [
        await connection.execute(statement, values)
        for statement in (
            sql.READ_RUNS,
            sql.READ_SHORTENED_PARAMS if shortened else sql.READ_PARAMS,
            sql.READ_SHORTENED_TAGS if shortened else sql.READ_TAGS,
            READ_LATEST_METRICS,
            sql.READ_INPUTS,
            sql.READ_RUN_MODELS,
        )
    ]
    rows, params, tags, metrics, inputs, models = [await c.fetchall() for c in cursors]
    runs = {row[0]: _run(row) for row in rows}
    for run_id, key, value in params:
        runs[run_id].params[key] = value
    for run_id, key, value in tags:
        runs[run_id].tags[key] = value
    for run_id, *metric in metrics:
        runs[run_id].metrics.append(LatestMetric(*metric))
    for run_id, *dataset_input in inputs:
        runs[run_id].dataset_inputs.append(DatasetInput(*dataset_input))
    for run_id, direction, model_id, step in models:
        run = runs[run_id]
        links = run.model_inputs if direction == "input" else run.model_outputs
        links.append(ModelLink(model_id, step))
    return [runs[run_id] for run_id in ids if run_id in runs]


async def read_info(connection: Pipeline, tenant: Tenant, run_id: UUID) -> Run | None:
    """A run without its params, tags, metrics, inputs and outputs; None where there is none."""
    row = await _first_row(connection, sql.READ_RUNS, tenant=tenant.id, runs=[run_id])
    return None if row is None else _run(row)


async def read_sizes(
    connection: Pipeline,
    tenant: Tenant,
    ids: Sequence[UUID],
    *,
    shortened: bool = False,
) -> dict[UUID, int]:
    """About how many bytes each of the runs takes, of those that exist. Takes one round trip."""
    values = {"tenant": tenant.id, "runs": list(ids)}
    statement = sql.READ_SHORTENED_SIZES if shortened else sql.READ_SIZES
    cursor = await connection.execute(statement, values)
    return {run_id: int(size) for run_id, size in await cursor.fetchall()}


async def read_tag(connection: Pipeline, tenant: Tenant, run_id: UUID, key: str) -> str | None:
    """The value of a run's tag."""
    row = await _first_row(connection, sql.READ_TAG, tenant=tenant.id, run=run_id, key=key)
    return None if row is None else row[0]


async def locate(connection: Pipeline, tenant: Tenant, run_id: UUID) -> RunLocation | None:
    """Where a run's artifacts are; None where there is no such run."""
    row = await _first_row(connection, sql.LOCATE_RUN, tenant=tenant.id, run=run_id)
    if row is None:
        return None
    run_id, experiment_id, deleted_time, artifact_location = row
    uri = run_artifact_uri(experiment_id, artifact_location, run_id.hex)
    return RunLocation(run_id, uri, deleted_time)


async def find_versions(connection: Pipeline, tenant: Tenant, ids: Sequence[UUID]) -> Cursor:
    """Queue the query for (run id, version) of the runs that exist."""
    return await connection.execute(sql.READ_VERSIONS, {"tenant": tenant.id, "runs": list(ids)})


async def find_models(connection: Pipeline, tenant: Tenant, model_ids: Collection[str]) -> Cursor:
    """Queue the query for the ids of the logged models that exist, which keeps them from removal
    until the transaction ends."""
    return await connection.execute(
        sql.FIND_MODELS, {"tenant": tenant.id, "models": list(model_ids)}
    )


async def find_page(connection: Pipeline, page: CompiledPage, *, timeout_ms: int) -> Cursor:
    """Queue the query for a page of a search; the rows are (run id, sort keys…, version)."""
    plans = "force_generic_plan" if page.generic_plan else "auto"
    await connection.execute(sql.CONFIGURE_SEARCH, {"timeout": str(timeout_ms), "plans": plans})
    return await connection.execute_numbered(page.text, page.values)


async def count_matches(connection: Pipeline, page: CompiledPage) -> Cursor:
    """Queue the count of the runs on all pages, after `find_page` in the same pipeline."""
    return await connection.execute_numbered(page.count_text, page.count_values)


async def create(connection: Pipeline, tenant: Tenant, runs: Sequence[Run]) -> Cursor:
    """Queue the insert of runs, with their params and tags, into active experiments.

    The rows are (experiment id, artifact_location, deleted_time) of the experiments that exist.
    """
    params = [(run.run_id, *param) for run in runs for param in run.params.items()]
    tags = [(run.run_id, *tag) for run in runs for tag in run.tags.items()]
    return await connection.execute(
        sql.CREATE_RUNS,
        {
            "tenant": tenant.id,
            "runs": [run.run_id for run in runs],
            "experiments": [run.experiment_id for run in runs],
            "names": [run.name for run in runs],
            "users": [run.user_id for run in runs],
            "start_times": [run.start_time for run in runs],
            "param_runs": [run_id for run_id, _, _ in params],
            "param_keys": [key for _, key, _ in params],
            "param_values": [value for _, _, value in params],
            "tag_runs": [run_id for run_id, _, _ in tags],
            "tag_keys": [key for _, key, _ in tags],
            "tag_values": [value for _, _, value in tags],
        },
    )


async def lock(connection: Pipeline, tenant: Tenant, run_id: UUID) -> tuple[int | None] | None:
    """Lock a run until the transaction ends; returns its deleted_time, or None for no such run."""
    return await _first_row(connection, sql.LOCK_RUN, tenant=tenant.id, run=run_id)


async def update(
    connection: Pipeline,
    tenant: Tenant,
    run_id: UUID,
    *,
    status: str | None = None,
    end_time: int | None = None,
    name: str | None = None,
) -> None:
    """Queue an update of the values that are given, and raise the run's version in any case."""
    await connection.execute(
        sql.UPDATE_RUN,
        {
            "tenant": tenant.id,
            "run": run_id,
            "status": status,
            "end_time": end_time,
            "name": name,
        },
    )


async def set_settled_values(connection: Pipeline, tenant: Tenant, run_id: UUID) -> None:
    """Queue the update that lets index scans find a run that has ended by its latest metrics."""
    await connection.execute(SET_SETTLED_VALUES, {"tenant": tenant.id, "run": run_id})


async def upsert_tags(
    connection: Pipeline, tenant: Tenant, run_id: UUID, tags: Mapping[str, str]
) -> None:
    """Queue an upsert of a run's tags."""
    await connection.execute(
        sql.UPSERT_TAGS,
        {
            "tenant": tenant.id,
            "runs": [run_id] * len(tags),
            "keys": list(tags),
            "values": list(tags.values()),
        },
    )


async def delete_tags(
    connection: Pipeline, tenant: Tenant, run_id: UUID, keys: Sequence[str]
) -> Cursor:
    """Queue the deletion of a run's tags; the rows are the keys of those that existed."""
    return await connection.execute(
        sql.DELETE_TAGS, {"tenant": tenant.id, "run": run_id, "keys": keys}
    )


async def hide_name_tag(connection: Pipeline, tenant: Tenant, run_id: UUID) -> Cursor:
    """Queue the deletion of the tag `mlflow.runName`; there is no row if it was deleted before."""
    return await connection.execute(sql.HIDE_NAME_TAG, {"tenant": tenant.id, "run": run_id})


async def set_deleted_time(
    connection: Pipeline, tenant: Tenant, run_id: UUID, deleted_time: int | None
) -> bool:
    """Soft-delete a run, or restore it with None. False where there is no such run, or its purge
    has begun."""
    row = await _first_row(
        connection, sql.SET_DELETED_TIME, tenant=tenant.id, run=run_id, deleted_time=deleted_time
    )
    return row is not None


async def set_deleted_time_of_experiment(
    connection: AsyncConnection, tenant: Tenant, experiment_id: int, deleted_time: int | None
) -> None:
    """Soft-delete the active runs of an experiment, or restore its deleted runs with None.

    For the transaction that changes the experiment, which SQLAlchemy's connection is in.
    """
    changed = RunRow.deleted_time.is_(None) if deleted_time else RunRow.deleted_time.is_not(None)
    # Locked in the order in which batches lock runs, so that the two do not deadlock.
    locked = (
        select(RunRow.run_id)
        .where((RunRow.tenant_id == tenant.id) & (RunRow.experiment_id == experiment_id) & changed)
        .order_by(RunRow.run_id)
        .with_for_update(key_share=True)
    ).cte("locked")
    await connection.execute(
        update_rows(RunRow)
        .where(RunRow.tenant_id == tenant.id, RunRow.run_id == locked.c.run_id)
        .values(deleted_time=deleted_time, version=RunRow.version + 1)
    )


def _run(row: Sequence[Any]) -> Run:
    *columns, artifact_location = row
    run = Run(*columns)
    run.artifact_uri = run_artifact_uri(run.experiment_id, artifact_location, run.run_id.hex)
    return run


async def _first_row(
    connection: Pipeline, statement: str, **values: object
) -> tuple[Any, ...] | None:
    cursor = await connection.execute(statement, values)
    row: tuple[Any, ...] | None = await cursor.fetchone()
    return row
