"""Group commit of what requests log to runs: one transaction for all writes of a tenant that wait.

What a single request logs to existing series, or as tags or params alone, takes one round trip: its
statements check by themselves whether they may write. All else, and what they did not write, takes
two. The first locks the runs and reads what the writes depend on.
Python then accepts or refuses each write; the second sends the rows of the accepted ones, and the
commit. Where a run gets new metrics, a round trip between the two counts those that it has.

Lock order: runs by id, then the tenant's counter of series ids. Every writer of a run's series,
params and tags holds the run's lock, so that they do not change between the two round trips.

Run ids are strings here, since hashing a UUID is slow and each point is looked up by one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from app.db.coalescer import Coalescer
from app.db.database import Database
from app.db.pipeline import Pipeline
from app.kernel.errors import (
    LoggedModelNotFoundError,
    RunNotActiveError,
    RunNotFoundError,
    TrackingError,
)
from app.kernel.ids import parse_run_id
from app.kernel.tenant import Tenant
from app.metrics import writer as metrics
from app.metrics.entities import Point
from app.metrics.summaries import StoredSeries
from app.runs import key_limits, sql
from app.runs.entities import RUN_NAME_TAG, LongValue, RunKey, RunWrite
from app.runs.errors import param_changed

# In points, params and tags, plus one for each write.
MAX_BATCH_ITEMS = 5_000
MAX_WAITING_ITEMS = 200_000

MAX_CONCURRENT_BATCHES = 3


@dataclass(slots=True)
class _GroupedWrite:
    """A write, and its points by metric key."""

    write: RunWrite
    points: dict[str, list[Point]]
    model_points: list[Point]  # those that were measured on a logged model

    @classmethod
    def of(cls, write: RunWrite) -> "_GroupedWrite":
        points: dict[str, list[Point]] = {}
        for point in write.points:
            points.setdefault(point.key, []).append(point)
        return cls(write, points, [point for point in write.points if point.model_id])

    @property
    def tag_keys(self) -> Iterable[str]:
        """The keys of the tags; not that of the run's name, which is a column of the run."""
        return self.write.tags.keys() - {RUN_NAME_TAG} if self.write.tags else ()


@dataclass(slots=True)
class _State:
    """What Postgres holds of the runs, keys and models that a batch names."""

    deleted_times: dict[str, int | None]  # of the runs that exist
    series: dict[RunKey, StoredSeries]
    params: dict[RunKey, str | LongValue]
    models: set[str]
    remaining_keys: key_limits.RemainingKeys


@dataclass(slots=True)
class _Rows:
    """The rows of the accepted writes; of two values for one key, that of the later write."""

    points: dict[RunKey, list[Point]] = field(default_factory=dict)
    params: dict[RunKey, str] = field(default_factory=dict)
    tags: dict[RunKey, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    model_points: dict[metrics.ModelPointKey, Point] = field(default_factory=dict)

    def add(self, grouped: _GroupedWrite) -> None:
        run_id = grouped.write.run_id
        for key, points in grouped.points.items():
            self.points.setdefault((run_id, key), []).extend(points)
        for point in grouped.model_points:
            assert point.model_id is not None
            identity = (point.model_id, point.key, point.timestamp, point.step, run_id)
            self.model_points[identity] = point
        for key, value in grouped.write.params.items():
            self.params[run_id, key] = value
        for key, value in grouped.write.tags.items():
            if key == RUN_NAME_TAG:
                self.names[run_id] = value
            else:
                self.tags[run_id, key] = value


def write_queue(database: Database) -> Coalescer[RunWrite, None]:
    """The coalescer of a worker's writes to runs; `app.runs.validation` has checked each write.

    `submit` raises RunNotFoundError, RunNotActiveError, LoggedModelNotFoundError for a point's
    model, ConflictError for a param that has another value, and InvalidValueError for a run that
    would have too many metrics, params or tags.
    """
    return Coalescer(
        partial(write_batch, database),
        max_batch=MAX_BATCH_ITEMS,
        max_waiting=MAX_WAITING_ITEMS,
        max_concurrent=MAX_CONCURRENT_BATCHES,
        size=lambda write: write.items,
    )


async def write_batch(
    database: Database, tenant: Tenant, writes: Sequence[RunWrite]
) -> list[TrackingError | None]:
    """Commit the writes that can be accepted; for each write, None or the error that refused it."""
    batch = [_GroupedWrite.of(write) for write in writes]
    if len(batch) == 1 and await _write_at_once(database, tenant, batch[0]):
        return [None]
    well_formed = [grouped for grouped in batch if parse_run_id(grouped.write.run_id)]
    if not well_formed:
        return [RunNotFoundError(write.run_id) for write in writes]
    errors: list[TrackingError | None] = []
    rows = _Rows()
    async with database.write_pipeline(tenant) as connection:
        state = await _read_state(connection, tenant, well_formed)
        for grouped in batch:
            error = _check(grouped, state, rows) or _reserve_keys(grouped, state.remaining_keys)
            if error is None:
                rows.add(grouped)
            errors.append(error)
        await _write_rows(connection, tenant, state, rows)
    return errors


async def _write_at_once(database: Database, tenant: Tenant, grouped: _GroupedWrite) -> bool:
    """Commit a write of one kind in one round trip; False where that was not possible, and nothing
    was written."""
    write = grouped.write
    kinds = (grouped.points, write.params, write.tags)
    if sum(map(bool, kinds)) != 1 or grouped.model_points or RUN_NAME_TAG in write.tags:
        return False
    if parse_run_id(write.run_id) is None:
        return False
    async with database.write_pipeline(tenant) as connection:
        values = {"tenant": tenant.id, "run": write.run_id}
        await connection.execute(sql.LOCK_ACTIVE_RUN, values)
        if grouped.points:
            done = await metrics.log_later_points(connection, tenant, write.run_id, grouped.points)
        else:
            statement, kind, pairs = (
                (sql.SET_TAGS_OF_RUN, "tags", write.tags)
                if write.tags
                else (sql.INSERT_PARAMS_OF_RUN, "params", write.params)
            )
            values |= {"keys": list(pairs), "values": list(pairs.values())}
            done = await connection.execute(statement, values | {"limit": key_limits.LIMITS[kind]})
    return await done.fetchone() == (True,)


async def _read_state(
    connection: Pipeline, tenant: Tenant, batch: Sequence[_GroupedWrite]
) -> _State:
    """Lock the runs, and read what decides on the writes."""
    runs = list({grouped.write.run_id for grouped in batch})
    series = {(grouped.write.run_id, key) for grouped in batch for key in grouped.points}
    params = {(grouped.write.run_id, key) for grouped in batch for key in grouped.write.params}
    tags = {(grouped.write.run_id, key) for grouped in batch for key in grouped.tag_keys}
    models = {point.model_id for grouped in batch for point in grouped.model_points}
    values: dict[str, Any] = {"tenant": tenant.id}
    # All queries are queued before the first result is fetched, which makes them one round trip.
    locked = await connection.execute(sql.LOCK_RUNS, values | {"runs": runs})
    found_series = series and await metrics.find_series(connection, tenant, series)
    found_params = params and await connection.execute(
        sql.FIND_PARAMS, values | _key_columns(params)
    )
    found_models = models and await connection.execute(
        sql.FIND_MODELS, values | {"models": list(models)}
    )
    written = {kind: keys for kind, keys in (("params", params), ("tags", tags)) if keys}
    counts = {
        kind: await key_limits.count_keys(connection, tenant, kind, keys)
        for kind, keys in written.items()
    }
    state = _State(
        deleted_times={run_id.hex: time for run_id, time in await locked.fetchall()},
        series={},
        params={},
        models=set(),
        remaining_keys=key_limits.RemainingKeys(),
    )
    if found_series:
        state.series = await metrics.stored_series(found_series)
    if found_params:
        state.params = {
            (run_id.hex, key): LongValue(value, digest) if digest else value
            for run_id, key, value, digest in await found_params.fetchall()
        }
    if found_models:
        state.models = {model_id for (model_id,) in await found_models.fetchall()}
    if len(state.series) < len(series):
        new = written["metrics"] = series - state.series.keys()
        counts["metrics"] = await key_limits.count_keys(connection, tenant, "metrics", new)
    if counts:
        existing: dict[str, Iterable[RunKey]] = {"metrics": state.series, "params": state.params}
        state.remaining_keys = await key_limits.remaining_keys(
            connection, tenant, written, counts, existing
        )
    return state


def _key_columns(keys: Iterable[RunKey]) -> dict[str, object]:
    keys = list(keys)
    return {"runs": [run_id for run_id, _ in keys], "keys": [key for _, key in keys]}


def _check(grouped: _GroupedWrite, state: _State, rows: _Rows) -> TrackingError | None:
    """The error that refuses a write, given the stored state and the writes accepted before it."""
    write = grouped.write
    if write.run_id not in state.deleted_times:
        return RunNotFoundError(write.run_id)
    if state.deleted_times[write.run_id] is not None:
        return RunNotActiveError(write.run_id, state.deleted_times[write.run_id])
    changed = []
    for key, value in write.params.items():
        run_key = (write.run_id, key)
        old = state.params.get(run_key, rows.params.get(run_key))
        if old is not None and old != value:
            changed.append({"key": key, "old_value": str(old), "new_value": value})
    if changed:
        return param_changed(write, changed)
    for point in grouped.model_points:
        if point.model_id and point.model_id not in state.models:
            return LoggedModelNotFoundError(point.model_id)
    return None


def _reserve_keys(
    grouped: _GroupedWrite, remaining: key_limits.RemainingKeys
) -> TrackingError | None:
    """The error for a write that would give its run too many keys."""
    if not remaining.counts:
        return None
    keys: dict[str, Iterable[str]] = {
        "metrics": grouped.points,
        "params": grouped.write.params,
        "tags": grouped.tag_keys,
    }
    return remaining.reserve(grouped.write.run_id, keys)


async def _write_rows(connection: Pipeline, tenant: Tenant, state: _State, rows: _Rows) -> None:
    """Queue the statements; they are sent, with the commit, when the pipeline ends."""
    values: dict[str, Any] = {"tenant": tenant.id}
    if rows.points:
        await metrics.write_points(connection, tenant, state.series, rows.points)
    if rows.params:
        await connection.execute(sql.INSERT_PARAMS, values | _key_value_columns(rows.params))
    if rows.tags:
        await connection.execute(sql.UPSERT_TAGS, values | _key_value_columns(rows.tags))
    if rows.names:
        names = {"runs": list(rows.names), "names": list(rows.names.values())}
        await connection.execute(sql.RENAME_RUNS, values | names)
    if rows.model_points:
        await metrics.write_model_points(connection, tenant, rows.model_points)


def _key_value_columns(rows: dict[RunKey, str]) -> dict[str, object]:
    return _key_columns(rows) | {"values": list(rows.values())}
