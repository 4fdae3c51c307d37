"""One transaction that writes what several requests log to the runs of a tenant.

Two round trips: the first locks the runs and reads what the writes depend on; Python then
decides, write by write, which are allowed; the second sends the rows and the commit. Where there
are new metrics, one more between them counts those that their runs have.

Locks are taken in one order: runs by id, then the tenant's counter of series. A run's lock is
held by whoever writes to it, so its series and params cannot change between the two trips.

Runs are known by the text of their ids here: a UUID is slow to hash, and each point is looked up.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, repeat
from typing import Any

import psycopg

from app.db.binary_arrays import big_integers, floats, integers
from app.db.coalescer import Coalescer
from app.db.database import Database
from app.kernel.errors import (
    LoggedModelNotFoundError,
    RunNotActiveError,
    RunNotFoundError,
    TrackingError,
)
from app.kernel.ids import parse_run_id
from app.kernel.tenant import Tenant
from app.metrics.summaries import NAN, SeriesPoints, StoredSeries, Summary
from app.runs import key_limits, sql
from app.runs.entities import RUN_NAME_TAG, Point, RunKey, RunWrite
from app.runs.errors import param_changed

MAX_BATCH_ITEMS = 5_000
MAX_WAITING_ITEMS = 200_000
BATCHES_AT_ONCE = 3


@dataclass(slots=True)
class _Incoming:
    """One write, its points by their key."""

    write: RunWrite
    points: dict[str, list[Point]]
    measured: list[Point]  # those that name a logged model

    @classmethod
    def of(cls, write: RunWrite) -> "_Incoming":
        points: dict[str, list[Point]] = {}
        for point in write.points:
            points.setdefault(point.key, []).append(point)
        return cls(write, points, [point for point in write.points if point.model_id])

    @property
    def stored_tags(self) -> Iterable[str]:
        """The keys of the tags; the run's name is none that is stored as one."""
        return self.write.tags.keys() - {RUN_NAME_TAG} if self.write.tags else ()


@dataclass(slots=True)
class _Stored:
    """What Postgres has of what the writes touch."""

    runs: dict[str, int | None]
    series: dict[RunKey, StoredSeries]
    params: dict[RunKey, str]
    models: set[str]
    room: key_limits.Room


@dataclass(slots=True)
class _Accepted:
    """The rows of all writes that passed, merged in the order of the requests."""

    points: dict[RunKey, list[Point]] = field(default_factory=dict)
    params: dict[RunKey, str] = field(default_factory=dict)
    tags: dict[RunKey, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    model_points: dict[tuple[str, str, int, int, str], Point] = field(default_factory=dict)


def write_queue(database: Database) -> Coalescer[RunWrite, None]:
    """The queue of a worker's writes to runs; each must have been validated.

    Raises for a write NotFoundError or InvalidStateError for its run, ConflictError for a param
    that has another value.
    """
    return Coalescer(
        partial(flush, database),
        max_batch=MAX_BATCH_ITEMS,
        max_waiting=MAX_WAITING_ITEMS,
        at_once=BATCHES_AT_ONCE,
        size=lambda write: write.items,
    )


async def flush(
    database: Database, tenant: Tenant, writes: Sequence[RunWrite]
) -> list[TrackingError | None]:
    """Write, and tell for each write what stood against it, or None once it is committed."""
    incoming = [_Incoming.of(write) for write in writes]
    known = [one for one in incoming if parse_run_id(one.write.run_id)]
    if not known:
        return [RunNotFoundError(write.run_id) for write in writes]
    results: list[TrackingError | None] = []
    accepted = _Accepted()
    async with database.write_pipeline(tenant) as connection:
        stored = await _read(connection, tenant, known)
        for one in incoming:
            error = _check(one, stored, accepted) or _take_room(one, stored.room)
            if error is None:
                _accept(one, accepted)
            results.append(error)
        await _send(connection, tenant, stored, accepted)
    return results


async def _read(
    connection: psycopg.AsyncConnection, tenant: Tenant, incoming: Sequence[_Incoming]
) -> _Stored:
    runs = list({one.write.run_id for one in incoming})
    series = {(one.write.run_id, key) for one in incoming for key in one.points}
    params = {(one.write.run_id, key) for one in incoming for key in one.write.params}
    tags = {(one.write.run_id, key) for one in incoming for key in one.stored_tags}
    models = {point.model_id for one in incoming for point in one.measured}
    values: dict[str, Any] = {"tenant": tenant.id}
    locked = await connection.execute(sql.LOCK_RUNS, values | {"runs": runs})
    found_series = series and await connection.execute(sql.FIND_SERIES, values | _columns(series))
    found_params = params and await connection.execute(sql.FIND_PARAMS, values | _columns(params))
    found_models = models and await connection.execute(
        sql.FIND_MODELS, values | {"models": list(models)}
    )
    asked = {kind: keys for kind, keys in (("params", params), ("tags", tags)) if keys}
    counted = {
        kind: await key_limits.count(connection, tenant, kind, keys) for kind, keys in asked.items()
    }
    stored = _Stored(
        runs={run_id.hex: deleted_time for run_id, deleted_time in await locked.fetchall()},
        series={},
        params={},
        models=set(),
        room=key_limits.Room(),
    )
    if found_series:
        for run_id, key, series_id, *summary in await found_series.fetchall():
            stored.series[run_id.hex, key] = StoredSeries(series_id, Summary(*summary))
    if found_params:
        stored.params = {(r.hex, key): value for r, key, value in await found_params.fetchall()}
    if found_models:
        stored.models = {model_id for (model_id,) in await found_models.fetchall()}
    if len(stored.series) < len(series):
        asked["metrics"] = series - stored.series.keys()
        counted["metrics"] = await key_limits.count(connection, tenant, "metrics", asked["metrics"])
    if counted:
        known: dict[str, Iterable[RunKey]] = {"metrics": stored.series, "params": stored.params}
        stored.room = await key_limits.read(connection, tenant, asked, counted, known)
    return stored


def _columns(keys: Iterable[RunKey]) -> dict[str, object]:
    keys = list(keys)
    return {"runs": [run_id for run_id, _ in keys], "keys": [key for _, key in keys]}


def _check(one: _Incoming, stored: _Stored, accepted: _Accepted) -> TrackingError | None:
    write = one.write
    if write.run_id not in stored.runs:
        return RunNotFoundError(write.run_id)
    if stored.runs[write.run_id] is not None:
        return RunNotActiveError(write.run_id, stored.runs[write.run_id])
    changed = []
    for key, value in write.params.items():
        name = (write.run_id, key)
        old = stored.params.get(name, accepted.params.get(name))
        if old is not None and old != value:
            changed.append({"key": key, "old_value": old, "new_value": value})
    if changed:
        return param_changed(write, changed)
    for point in one.measured:
        if point.model_id and point.model_id not in stored.models:
            return LoggedModelNotFoundError(point.model_id)
    return None


def _take_room(one: _Incoming, left: key_limits.Room) -> TrackingError | None:
    if not left.left:
        return None
    keys: dict[str, Iterable[str]] = {
        "metrics": one.points,
        "params": one.write.params,
        "tags": one.stored_tags,
    }
    return left.take(one.write.run_id, keys)


def _accept(one: _Incoming, accepted: _Accepted) -> None:
    run_id = one.write.run_id
    for key, points in one.points.items():
        accepted.points.setdefault((run_id, key), []).extend(points)
    for point in one.measured:
        assert point.model_id is not None
        identity = (point.model_id, point.key, point.timestamp, point.step, run_id)
        accepted.model_points[identity] = point
    for key, value in one.write.params.items():
        accepted.params[run_id, key] = value
    for key, value in one.write.tags.items():
        if key == RUN_NAME_TAG:
            accepted.names[run_id] = value
        else:
            accepted.tags[run_id, key] = value


async def _send(
    connection: psycopg.AsyncConnection, tenant: Tenant, stored: _Stored, accepted: _Accepted
) -> None:
    """Queue the statements; they go out, with the commit, when the pipeline ends."""
    values: dict[str, Any] = {"tenant": tenant.id}
    if accepted.points:
        await _send_points(connection, values, stored.series, accepted.points)
    if accepted.params:
        await connection.execute(sql.INSERT_PARAMS, values | _texts(accepted.params))
    if accepted.tags:
        await connection.execute(sql.UPSERT_TAGS, values | _texts(accepted.tags))
    if accepted.names:
        names = {"runs": list(accepted.names), "names": list(accepted.names.values())}
        await connection.execute(sql.RENAME_RUNS, values | names)
    if accepted.model_points:
        columns = _model_point_columns(accepted.model_points)
        await connection.execute(sql.UPSERT_MODEL_POINTS, values | columns)


def _texts(rows: dict[RunKey, str]) -> dict[str, object]:
    return _columns(rows) | {"values": list(rows.values())}


async def _send_points(
    connection: psycopg.AsyncConnection,
    values: dict[str, Any],
    stored: dict[RunKey, StoredSeries],
    points: dict[RunKey, list[Point]],
) -> None:
    new: list[tuple[RunKey, SeriesPoints]] = []
    later: list[tuple[StoredSeries, SeriesPoints]] = []
    doubtful: list[tuple[StoredSeries, SeriesPoints]] = []
    for key, of_series in points.items():
        batch = SeriesPoints(of_series)
        series = stored.get(key)
        if series is None:
            new.append((key, batch))
        elif batch.follow(series.summary):
            later.append((series, batch))
        else:
            doubtful.append((series, batch))
    if new:
        numbered = [(number, batch) for number, (_, batch) in enumerate(new, 1)]
        summaries = [(number, batch.summary, len(batch.steps)) for number, batch in numbered]
        columns = _columns(key for key, _ in new) | _point_columns(numbered)
        await connection.execute(sql.INSERT_SERIES, values | columns | _summary_columns(summaries))
    for statement, batches in (
        (sql.INSERT_POINTS, later),
        (sql.INSERT_ABSENT_POINTS, doubtful),
    ):
        if batches:
            numbered = [(series.series_id, batch) for series, batch in batches]
            await connection.execute(statement, values | _point_columns(numbered))
    if later or doubtful:
        # Those of the doubtful that were absent are counted where they are inserted.
        added = [(*one, len(one[1].steps)) for one in later] + [(*one, 0) for one in doubtful]
        summaries = [
            (series.series_id, series.summary.merged(batch.summary), count)
            for series, batch, count in added
        ]
        await connection.execute(sql.UPDATE_SERIES, values | _summary_columns(summaries))


def _point_columns(numbered: Sequence[tuple[int, SeriesPoints]]) -> dict[str, object]:
    """Chained by C alone: a batch has thousands of points."""
    batches = [batch for _, batch in numbered]
    numbers = (repeat(number, len(batch.steps)) for number, batch in numbered)
    return {
        "of": integers(chain.from_iterable(numbers)),
        "timestamps": big_integers(chain.from_iterable(batch.timestamps for batch in batches)),
        "steps": big_integers(chain.from_iterable(batch.steps for batch in batches)),
        "values": floats(chain.from_iterable(batch.values for batch in batches)),
    }


def _summary_columns(rows: Sequence[tuple[int, Summary, int]]) -> dict[str, object]:
    """Of (series, summary, count of new points)."""
    summaries = [summary for _, summary, _ in rows]
    return {
        "series": integers(number for number, _, _ in rows),
        "last_steps": big_integers(one.last_step for one in summaries),
        "last_timestamps": big_integers(one.last_timestamp for one in summaries),
        "last_values": floats(one.last_value for one in summaries),
        "max_timestamps": big_integers(one.max_timestamp for one in summaries),
        "min_values": floats(NAN if one.min_value is None else one.min_value for one in summaries),
        "max_values": floats(NAN if one.max_value is None else one.max_value for one in summaries),
        "counts": integers(count for _, _, count in rows),
    }


def _model_point_columns(
    rows: dict[tuple[str, str, int, int, str], Point],
) -> dict[str, object]:
    points = rows.values()
    return {
        "models": [model_id for model_id, *_ in rows],
        "keys": [point.key for point in points],
        "timestamps": big_integers(point.timestamp for point in points),
        "steps": big_integers(point.step for point in points),
        "runs": [run_id for *_, run_id in rows],
        "values": floats(point.value for point in points),
        "dataset_names": [point.dataset_name for point in points],
        "dataset_digests": [point.dataset_digest for point in points],
    }
