"""Reads series and their points, by the statements of `app.metrics.sql`."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app.db.pipeline import Cursor, Pipeline
from app.kernel.tenant import Tenant
from app.kernel.validation import INT64_MAX, INT64_MIN
from app.metrics import sql
from app.metrics.entities import PointColumns, PointRow


@dataclass(frozen=True, slots=True)
class SeriesRange:
    """The points of a series between two steps, both inclusive; None where a side is open."""

    tenant_id: int
    series_id: int
    step_min: int | None
    step_max: int | None

    @property
    def values(self) -> dict[str, object]:
        return {
            "tenant": self.tenant_id,
            "series": self.series_id,
            "first": INT64_MIN if self.step_min is None else self.step_min,
            "last": INT64_MAX if self.step_max is None else self.step_max,
        }


async def find_series(
    connection: Pipeline, tenant: Tenant, run_id: UUID, key: str
) -> tuple[int | None, int] | None:
    """The id of the series of a run's metric and its number of points; None where there is no run.

    The id is None where the metric was never logged.
    """
    cursor = await connection.execute(
        sql.FIND_SERIES_OF_RUN, {"tenant": tenant.id, "run": run_id, "key": key}
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    series_id, point_count = row
    return series_id, point_count or 0


async def find_series_of_runs(
    connection: Pipeline, tenant: Tenant, run_ids: Sequence[UUID], key: str
) -> Cursor:
    """Queue the query for (run id, series id, number of points) of one metric in several runs."""
    return await connection.execute(
        sql.FIND_SERIES_OF_RUNS, {"tenant": tenant.id, "runs": run_ids, "key": key}
    )


async def find_page(
    connection: Pipeline,
    tenant: Tenant,
    series_id: int,
    *,
    after: PointRow | None,
    limit: int,
    full_order: bool,
) -> Cursor:
    """Queue the query for a page of points, which `read_page` reads.

    The order is that of (timestamp, step, value) with `full_order`, else that of the timestamps,
    which takes half the time.
    """
    values: dict[str, object] = {"tenant": tenant.id, "series": series_id, "limit": limit}
    if after is not None:
        timestamp, step, value = after
        values |= {"timestamp": timestamp, "step": step, "value": value}
    statement = sql.read_history(after=after is not None, full_order=full_order)
    await connection.execute(sql.FORCE_INDEX_ORDER)
    # In binary form, a page of numbers is read in half the time.
    return await connection.execute(statement, values, binary=True)


async def read_page(cursor: Cursor) -> PointColumns:
    """The points that `find_page` found."""
    row = await cursor.fetchone()
    assert row is not None
    return PointColumns(*(column or [] for column in row))


async def read_histories(
    connection: Pipeline,
    tenant: Tenant,
    run_ids: Sequence[UUID],
    key: str,
    limit: int,
) -> list[tuple[UUID, int, int, float]]:
    """The first `limit` of (run id, timestamp, step, value), run after run."""
    cursor = await connection.execute(
        sql.READ_HISTORIES, {"tenant": tenant.id, "runs": run_ids, "key": key, "limit": limit}
    )
    return await cursor.fetchall()


async def count_points(connection: Pipeline, points: SeriesRange, count_of_series: int) -> int:
    """The number of points in the range, which is `count_of_series` for a range without bounds."""
    if points.step_min in (None, INT64_MIN) and points.step_max in (None, INT64_MAX):
        return count_of_series
    cursor = await connection.execute(sql.COUNT_BETWEEN, points.values)
    row = await cursor.fetchone()
    assert row is not None
    count: int = row[0]
    return count


async def read_even_places(
    connection: Pipeline, points: SeriesRange, total: int, limit: int
) -> list[PointRow]:
    """All points of the range, or one of each of `limit` parts where `total` is more than that.

    The sizes of the parts differ by at most one, larger parts first. Of each part the first point
    is read, but of the last part the last point.
    """
    parts = max(1, min(total, limit))
    size, larger = divmod(total, parts)
    await connection.execute(sql.SET_SORT_MEMORY)
    cursor = await connection.execute(
        sql.READ_EVEN_PLACES,
        points.values
        | {
            "total": total,
            "size": max(1, size),
            "larger": larger * (size + 1),
            "last_part": total - size,
        },
        binary=True,
    )
    return await cursor.fetchall()


async def read_extremes(
    connection: Pipeline, points: SeriesRange, total: int, parts: int
) -> list[PointRow]:
    """The points with the lowest and the highest value of each of `parts` even parts of a range,
    which has `total` points."""
    cursor = await connection.execute(
        sql.READ_EXTREMES, points.values | {"buckets": parts, "total": total}
    )
    return await cursor.fetchall()
