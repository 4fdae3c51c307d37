"""Runs read from and written to Postgres, by the statements of `app.runs.sql`."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg

from app.kernel.artifact_uris import RunLocation, run_artifact_uri
from app.kernel.tenant import Tenant
from app.runs import sql
from app.runs.entities import DatasetInput, LatestMetric, ModelLink, Run
from app.search.page import CompiledPage


async def read(
    connection: psycopg.AsyncConnection, tenant: Tenant, ids: Sequence[UUID]
) -> list[Run]:
    """The runs of those ids that exist, whole, in the order of the ids. One round trip.

    In a snapshot, or under the runs' locks, so that a run is shown as it was at one moment.
    """
    values = {"tenant": tenant.id, "runs": list(ids)}
    cursors = [
        await connection.execute(statement, values)
        for statement in (
            sql.READ_RUNS,
            sql.READ_PARAMS,
            sql.READ_TAGS,
            sql.READ_LATEST_METRICS,
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


async def sizes(
    connection: psycopg.AsyncConnection, tenant: Tenant, ids: Sequence[UUID]
) -> dict[UUID, int]:
    """About how many bytes each of the runs takes that exist. One round trip."""
    values = {"tenant": tenant.id, "runs": list(ids)}
    cursor = await connection.execute(sql.READ_SIZES, values)
    return {run_id: int(size) for run_id, size in await cursor.fetchall()}


async def read_info(
    connection: psycopg.AsyncConnection, tenant: Tenant, run_id: UUID
) -> Run | None:
    """A run without what hangs on it; None where there is none."""
    row = await one(connection, sql.READ_RUNS, tenant=tenant.id, runs=[run_id])
    return None if row is None else _run(row)


async def locate(
    connection: psycopg.AsyncConnection, tenant: Tenant, run_id: UUID
) -> RunLocation | None:
    """Where a run's artifacts are; None where there is no such run."""
    row = await one(connection, sql.LOCATE_RUN, tenant=tenant.id, run=run_id)
    if row is None:
        return None
    run_id, experiment_id, deleted_time, artifact_location = row
    uri = run_artifact_uri(experiment_id, artifact_location, run_id.hex)
    return RunLocation(run_id, uri, deleted_time)


async def find(
    connection: psycopg.AsyncConnection, page: CompiledPage, *, timeout_ms: int
) -> psycopg.AsyncCursor[tuple[Any, ...]]:
    """Ask for a page of a search. A row is a run's id, its sort keys, and its version."""
    plans = "force_generic_plan" if page.ordered else "auto"
    await connection.execute(sql.BOUND_SEARCH, {"timeout": str(timeout_ms), "plans": plans})
    return await psycopg.AsyncRawCursor(connection).execute(page.text, page.values)


async def count(
    connection: psycopg.AsyncConnection, page: CompiledPage
) -> psycopg.AsyncCursor[tuple[int]]:
    """Ask how many runs match on all pages, after `find` in its pipeline."""
    return await psycopg.AsyncRawCursor(connection).execute(page.count_text, page.count_values)


def _run(row: Sequence[Any]) -> Run:
    *columns, artifact_location = row
    run = Run(*columns)
    run.artifact_uri = run_artifact_uri(run.experiment_id, artifact_location, run.run_id.hex)
    return run


async def one(
    connection: psycopg.AsyncConnection, statement: str, **values: object
) -> tuple[Any, ...] | None:
    """The first row of a statement on one run; None where there is none."""
    cursor = await connection.execute(statement, values)
    row: tuple[Any, ...] | None = await cursor.fetchone()
    return row
