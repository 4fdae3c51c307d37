"""Writes points, and keeps the summaries of their series up to date.

These are steps of a transaction of `app.runs.batch_writer`, which has locked the runs: until its
end, no other transaction writes to their series.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain, repeat
from typing import Any

from app.db.binary_arrays import big_integers, floats, integers
from app.db.pipeline import Cursor, Pipeline
from app.kernel.tenant import Tenant
from app.metrics import sql
from app.metrics.entities import Point, SeriesKey
from app.metrics.summaries import NAN, SeriesBatch, StoredSeries, Summary

ModelPointKey = tuple[str, str, int, int, str]
"""Model id, metric key, timestamp, step, run id: the primary key of a point of a logged model."""


async def find_series(connection: Pipeline, tenant: Tenant, keys: Collection[SeriesKey]) -> Cursor:
    """Queue the query for the series of these keys; `stored_series` reads its result."""
    return await connection.execute(sql.FIND_SERIES, {"tenant": tenant.id} | _key_columns(keys))


async def stored_series(found: Cursor) -> dict[SeriesKey, StoredSeries]:
    """The series that `find_series` found."""
    return {
        (run_id.hex, key): StoredSeries(series_id, Summary(*summary))
        for run_id, key, series_id, *summary in await found.fetchall()
    }


async def write_points(
    connection: Pipeline,
    tenant: Tenant,
    stored: Mapping[SeriesKey, StoredSeries],
    points: Mapping[SeriesKey, Sequence[Point]],
) -> None:
    """Queue the statements that insert points, which may be duplicates of stored ones.

    `stored` holds the series that exist among those of the points.
    """
    new: list[tuple[SeriesKey, SeriesBatch]] = []
    later: list[tuple[StoredSeries, SeriesBatch]] = []
    overlapping: list[tuple[StoredSeries, SeriesBatch]] = []
    for key, points_of_series in points.items():
        batch = SeriesBatch(points_of_series)
        series = stored.get(key)
        if series is None:
            new.append((key, batch))
        elif batch.comes_after(series.summary):
            later.append((series, batch))
        else:
            overlapping.append((series, batch))
    values: dict[str, Any] = {"tenant": tenant.id}
    if new:
        numbered = [(number, batch) for number, (_, batch) in enumerate(new, 1)]
        summaries = [(number, batch.summary, len(batch.steps)) for number, batch in numbered]
        columns = _key_columns([key for key, _ in new]) | _point_columns(numbered)
        await connection.execute(sql.INSERT_SERIES, values | columns | _summary_columns(summaries))
    for statement, batches in (
        (sql.INSERT_POINTS, later),
        (sql.INSERT_ABSENT_POINTS, overlapping),
    ):
        if batches:
            numbered = [(series.series_id, batch) for series, batch in batches]
            await connection.execute(statement, values | _point_columns(numbered))
    if later or overlapping:
        # INSERT_ABSENT_POINTS has already counted the points that it inserted.
        counted = [(*each, len(each[1].steps)) for each in later]
        counted += [(*each, 0) for each in overlapping]
        summaries = [
            (series.series_id, series.summary.merge(batch.summary), count)
            for series, batch, count in counted
        ]
        await connection.execute(sql.UPDATE_SERIES, values | _summary_columns(summaries))


async def log_later_points(
    connection: Pipeline, tenant: Tenant, run_id: str, points: Mapping[str, Sequence[Point]]
) -> Cursor:
    """Queue the statement that inserts points, by metric key, where all of them come after those
    that are stored of existing series. Its row says whether it did so, or wrote nothing.

    The connection holds the run's lock.
    """
    numbered = [(number, SeriesBatch(batch)) for number, batch in enumerate(points.values(), 1)]
    summaries = [(number, batch.summary, len(batch.steps)) for number, batch in numbered]
    columns = _point_columns(numbered) | _summary_columns(summaries)
    return await connection.execute(
        sql.LOG_LATER_POINTS,
        columns
        | {
            "tenant": tenant.id,
            "run": run_id,
            "keys": list(points),
            "first_steps": big_integers(batch.steps[0] for _, batch in numbered),
            "first_timestamps": big_integers(batch.timestamps[0] for _, batch in numbered),
        },
    )


async def write_model_points(
    connection: Pipeline, tenant: Tenant, points: Mapping[ModelPointKey, Point]
) -> None:
    """Queue the statement that adds points to the logged models that they were measured on."""
    values = points.values()
    columns = {
        "tenant": tenant.id,
        "models": [model_id for model_id, *_ in points],
        "keys": [point.key for point in values],
        "timestamps": big_integers(point.timestamp for point in values),
        "steps": big_integers(point.step for point in values),
        "runs": [run_id for *_, run_id in points],
        "values": floats(point.value for point in values),
        "dataset_names": [point.dataset_name for point in values],
        "dataset_digests": [point.dataset_digest for point in values],
    }
    await connection.execute(sql.UPSERT_MODEL_POINTS, columns)


def _key_columns(keys: Collection[SeriesKey]) -> dict[str, object]:
    return {"runs": [run_id for run_id, _ in keys], "keys": [key for _, key in keys]}


def _point_columns(numbered: Sequence[tuple[int, SeriesBatch]]) -> dict[str, object]:
    """The points of all batches, each with the number of its series.

    itertools chains them without a loop in Python: there may be thousands of points.
    """
    batches = [batch for _, batch in numbered]
    numbers = (repeat(number, len(batch.steps)) for number, batch in numbered)
    return {
        "of": integers(chain.from_iterable(numbers)),
        "timestamps": big_integers(chain.from_iterable(batch.timestamps for batch in batches)),
        "steps": big_integers(chain.from_iterable(batch.steps for batch in batches)),
        "values": floats(chain.from_iterable(batch.values for batch in batches)),
    }


def _summary_columns(rows: Sequence[tuple[int, Summary, int]]) -> dict[str, object]:
    """The columns of (number of the series, summary, count of new points)."""
    summaries = [summary for _, summary, _ in rows]
    return {
        "series": integers(number for number, _, _ in rows),
        "last_steps": big_integers(summary.last_step for summary in summaries),
        "last_timestamps": big_integers(summary.last_timestamp for summary in summaries),
        "last_values": floats(summary.last_value for summary in summaries),
        "max_timestamps": big_integers(summary.max_timestamp for summary in summaries),
        "min_values": floats(_or_nan(summary.min_value for summary in summaries)),
        "max_values": floats(_or_nan(summary.max_value for summary in summaries)),
        "counts": integers(count for _, _, count in rows),
    }


def _or_nan(values: Iterable[float | None]) -> Iterable[float]:
    return (NAN if value is None else value for value in values)
