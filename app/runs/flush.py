"""One transaction that writes what several requests log to the runs of a tenant.

Two round trips: the first locks the runs and reads what the writes depend on; Python then
decides, write by write, which are allowed; the second sends the rows and the commit.

Locks are taken in one order: runs by id, then the tenant's counter of series. A run's lock is
held by whoever writes to it, so its series and params cannot change between the two trips.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import psycopg

from app.db.arrays import floats, integers
from app.db.database import Database
from app.errors import ConflictError, InvalidStateError, NotFoundError, TrackingError
from app.ids import parse_run_id
from app.lifecycle import stage
from app.runs import sql
from app.runs.entities import RUN_NAME_TAG, Point, RunWrite
from app.tenancy.tenant import Tenant

SeriesKey = tuple[UUID, str]


@dataclass(slots=True)
class _Stored:
    """What Postgres has of what the writes touch."""

    runs: dict[UUID, int | None]
    series: dict[SeriesKey, int]
    params: dict[SeriesKey, str]
    models: set[str]


@dataclass(slots=True)
class _Accepted:
    """The rows of all writes that passed, merged in the order of the requests."""

    points: dict[SeriesKey, list[Point]] = field(default_factory=dict)
    params: dict[SeriesKey, str] = field(default_factory=dict)
    tags: dict[SeriesKey, str] = field(default_factory=dict)
    names: dict[UUID, str] = field(default_factory=dict)
    model_points: dict[tuple[str, str, int, int, UUID], Point] = field(default_factory=dict)


async def flush(
    database: Database, tenant: Tenant, writes: Sequence[RunWrite]
) -> list[TrackingError | None]:
    """Write, and tell for each write what stood against it, or None once it is committed."""
    ids = [parse_run_id(write.run_id) for write in writes]
    known = [(run_id, write) for run_id, write in zip(ids, writes, strict=True) if run_id]
    if not known:
        return [run_absent(write.run_id) for write in writes]
    results: list[TrackingError | None] = []
    accepted = _Accepted()
    async with database.pipeline(tenant) as connection:
        stored = await _read(connection, tenant, known)
        for run_id, write in zip(ids, writes, strict=True):
            error = _check(run_id, write, stored, accepted)
            if error is None and run_id is not None:
                _accept(run_id, write, accepted)
            results.append(error)
        await _send(connection, tenant, stored, accepted)
    return results


async def _read(
    connection: psycopg.AsyncConnection, tenant: Tenant, writes: Sequence[tuple[UUID, RunWrite]]
) -> _Stored:
    series = {(run_id, point.key) for run_id, write in writes for point in write.points}
    params = {(run_id, key) for run_id, write in writes for key in write.params}
    models = {p.model_id for _, write in writes for p in write.points if p.model_id}
    values = {"tenant": tenant.id}
    locked = await connection.execute(
        sql.LOCK_RUNS, values | {"runs": list({run_id for run_id, _ in writes})}
    )
    found_series = series and await connection.execute(sql.FIND_SERIES, values | _columns(series))
    found_params = params and await connection.execute(sql.FIND_PARAMS, values | _columns(params))
    found_models = models and await connection.execute(
        sql.FIND_MODELS, values | {"models": list(models)}
    )
    return _Stored(
        runs=dict(await locked.fetchall()),
        series={(r, k): i for r, k, i in await found_series.fetchall()} if found_series else {},
        params={(r, k): v for r, k, v in await found_params.fetchall()} if found_params else {},
        models={m for (m,) in await found_models.fetchall()} if found_models else set(),
    )


def _columns(keys: set[SeriesKey]) -> dict[str, object]:
    return {"runs": [run_id for run_id, _ in keys], "keys": [key for _, key in keys]}


def _check(
    run_id: UUID | None, write: RunWrite, stored: _Stored, accepted: _Accepted
) -> TrackingError | None:
    if run_id is None or run_id not in stored.runs:
        return run_absent(write.run_id)
    if stored.runs[run_id] is not None:
        return run_not_active(write.run_id, stored.runs[run_id])
    changed = []
    for key, value in write.params.items():
        old = stored.params.get((run_id, key), accepted.params.get((run_id, key)))
        if old is not None and old != value:
            changed.append({"key": key, "old_value": old, "new_value": value})
    if changed:
        return param_changed(write, changed)
    for point in write.points:
        if point.model_id and point.model_id not in stored.models:
            return NotFoundError(
                f"Logged model with ID '{point.model_id}' not found.", field="model_id"
            )
    return None


def _accept(run_id: UUID, write: RunWrite, accepted: _Accepted) -> None:
    for point in write.points:
        accepted.points.setdefault((run_id, point.key), []).append(point)
        if point.model_id:
            identity = (point.model_id, point.key, point.timestamp, point.step, run_id)
            accepted.model_points[identity] = point
    for key, value in write.params.items():
        accepted.params[run_id, key] = value
    for key, value in write.tags.items():
        if key == RUN_NAME_TAG:
            accepted.names[run_id] = value
        else:
            accepted.tags[run_id, key] = value


async def _send(
    connection: psycopg.AsyncConnection, tenant: Tenant, stored: _Stored, accepted: _Accepted
) -> None:
    """Queue the statements; they go out, with the commit, when the pipeline ends."""
    values = {"tenant": tenant.id}
    if accepted.points:
        new = [key for key in accepted.points if key not in stored.series]
        if new:
            stored.series |= await _new_series(connection, tenant, new, accepted)
        await connection.execute(
            sql.INSERT_POINTS, values | _point_columns(accepted.points, stored.series)
        )
    if accepted.params:
        await connection.execute(
            sql.INSERT_PARAMS,
            values | _columns_of(accepted.params),
        )
    if accepted.tags:
        await connection.execute(sql.UPSERT_TAGS, values | _columns_of(accepted.tags))
    if accepted.names:
        await connection.execute(
            sql.RENAME_RUNS,
            values | {"runs": list(accepted.names), "names": list(accepted.names.values())},
        )
    if accepted.model_points:
        await connection.execute(
            sql.UPSERT_MODEL_POINTS, values | _model_point_columns(accepted.model_points)
        )


def _columns_of(rows: dict[SeriesKey, str]) -> dict[str, object]:
    return {
        "runs": [run_id for run_id, _ in rows],
        "keys": [key for _, key in rows],
        "values": list(rows.values()),
    }


async def _new_series(
    connection: psycopg.AsyncConnection,
    tenant: Tenant,
    keys: list[SeriesKey],
    accepted: _Accepted,
) -> dict[SeriesKey, int]:
    """Give ids to metrics that are logged for the first time, and enter them without a count."""
    counter = await connection.execute(
        sql.TAKE_SERIES_IDS, {"tenant": tenant.id, "count": len(keys)}
    )
    row = await counter.fetchone()
    assert row is not None
    ids = range(row[0] - len(keys) + 1, row[0] + 1)
    latest = [max(accepted.points[key], key=recency) for key in keys]
    await connection.execute(
        sql.INSERT_SERIES,
        {
            "tenant": tenant.id,
            "series": integers(ids),
            "runs": [run_id for run_id, _ in keys],
            "keys": [key for _, key in keys],
            "steps": integers(point.step for point in latest),
            "timestamps": integers(point.timestamp for point in latest),
            "values": floats(point.value for point in latest),
        },
    )
    return dict(zip(keys, ids, strict=True))


def _point_columns(
    points: dict[SeriesKey, list[Point]], series: dict[SeriesKey, int]
) -> dict[str, object]:
    """The points as columns, then for each series its latest, least and greatest."""
    ordered = [(series[key], its_points) for key, its_points in points.items()]
    flat = [point for _, its_points in ordered for point in its_points]
    latest = [max(its_points, key=recency) for _, its_points in ordered]
    numbers = [
        [point.value for point in its_points if point.value == point.value]
        for _, its_points in ordered
    ]
    return {
        "series": integers(number for number, its_points in ordered for _ in its_points),
        "timestamps": integers(point.timestamp for point in flat),
        "steps": integers(point.step for point in flat),
        "values": floats(point.value for point in flat),
        "touched": integers(number for number, _ in ordered),
        "last_steps": integers(point.step for point in latest),
        "last_timestamps": integers(point.timestamp for point in latest),
        "last_values": floats(point.value for point in latest),
        # A series of NaNs alone has neither; NaN stands for that on the way.
        "least": floats(min(its_numbers, default=float("nan")) for its_numbers in numbers),
        "greatest": floats(max(its_numbers, default=float("nan")) for its_numbers in numbers),
    }


def _model_point_columns(
    rows: dict[tuple[str, str, int, int, UUID], Point],
) -> dict[str, object]:
    return {
        "models": [model_id for model_id, *_ in rows],
        "keys": [point.key for point in rows.values()],
        "timestamps": integers(point.timestamp for point in rows.values()),
        "steps": integers(point.step for point in rows.values()),
        "runs": [run_id for *_, run_id in rows],
        "values": floats(point.value for point in rows.values()),
        "dataset_names": [point.dataset_name for point in rows.values()],
        "dataset_digests": [point.dataset_digest for point in rows.values()],
    }


def recency(point: Point) -> tuple[int, int, float]:
    """What makes one point later than another; MLflow keeps NaN as 0 where it compares."""
    value = point.value if point.value == point.value else 0.0
    return point.step, point.timestamp, value


def run_absent(run_id: str) -> NotFoundError:
    return NotFoundError(f"Run with id={run_id} not found", field="run_id")


def run_not_active(run_id: str, deleted_time: int | None) -> InvalidStateError:
    return InvalidStateError(
        f"The run {run_id} must be in the 'active' state. Current state is {stage(deleted_time)}.",
        field="run_id",
    )


def param_changed(write: RunWrite, changed: list[dict[str, str]]) -> ConflictError:
    if write.single:
        (one,) = changed
        return ConflictError(
            f"Changing param values is not allowed. Param with key='{one['key']}' was already"
            f" logged with value='{one['old_value']}' for run ID='{write.run_id}'. Attempted"
            f" logging new value '{one['new_value']}'.",
            field=f"params.{one['key']}",
        )
    return ConflictError(
        f"Changing param values is not allowed. Params were already logged='{changed}' for run"
        f" ID='{write.run_id}'.",
        field=f"params.{changed[0]['key']}",
    )
