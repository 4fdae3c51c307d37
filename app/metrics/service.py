"""Metrics read back: histories by page, and samples of them."""

from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import lt
from typing import NamedTuple
from uuid import UUID

import psycopg

from app.db.database import Database
from app.kernel import validation
from app.kernel.cache import VersionedCache
from app.kernel.errors import RunNotFoundError
from app.kernel.ids import parse_run_id
from app.kernel.page_tokens import Int64, PageTokenCodec
from app.kernel.tenant import Tenant
from app.metrics import sql

PointRow = tuple[int, int, float]
"""Timestamp in epoch milliseconds, step, value."""

# A token holds the last point of its page.
_PAGE_TOKENS: PageTokenCodec[PointRow] = PageTokenCodec(
    tuple[Int64, Int64, float], "it must be the next_page_token of an earlier answer"
)


class Points(NamedTuple):
    """Points by column; timestamps in epoch milliseconds."""

    timestamps: list[int]
    steps: list[int]
    values: list[float]


RenderSample = Callable[[str, str, Sequence[PointRow]], bytes]
"""How an API writes the sampled points of a run's metric, by run id and key."""

# What one statement reads of a history, and what MLflow's client asks for at a time.
MAX_PAGE = 25_000

# What a worker spends on them; 320 points take about 40 kB.
MAX_SAMPLE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sampled:
    """Points in the order of their steps, out of `total`."""

    points: list[PointRow]
    total: int


class Metrics:
    """Every method on one run raises NotFoundError for one that is not the tenant's."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._samples: VersionedCache[Hashable, bytes] = VersionedCache(MAX_SAMPLE_BYTES, len)

    async def history(
        self,
        tenant: Tenant,
        run_id: str,
        key: str,
        *,
        limit: int | None = None,
        page_token: str | None = None,
    ) -> tuple[Points, str | None]:
        """A page of a metric's points by (timestamp, step, value), and the next one's token.

        The token says where the page ended, so points that are logged meanwhile shift nothing.
        """
        points = Points([], [], [])
        token = None
        pages = self.history_pages(tenant, run_id, key, limit=limit, page_token=page_token)
        async for page, token in pages:  # noqa: B007 (the last one is that of the whole)
            points.timestamps.extend(page.timestamps)
            points.steps.extend(page.steps)
            points.values.extend(page.values)
        return points, token

    async def history_pages(
        self,
        tenant: Tenant,
        run_id: str,
        key: str,
        *,
        limit: int | None = None,
        page_token: str | None = None,
        size: int = MAX_PAGE,
    ) -> AsyncIterator[tuple[Points, str | None]]:
        """What `history` gives, at most `size` points at a time, each page with the token of what
        follows it.

        Each page is a transaction of its own, so that neither Postgres nor the reader holds more,
        and no connection is held in between. What stands against reading is raised before the
        first.
        """
        after = _PAGE_TOKENS.decode(page_token) if page_token else None
        async with self._database.read_pipeline(tenant) as connection:
            series, _ = await _find(connection, tenant, run_id, key)
        more = series is not None
        while series is not None and more and limit != 0:
            size = size if limit is None else min(size, limit)
            points, more = await self._read_page(tenant, series, after, size)
            if points.steps:
                after = _last(points)
                limit = None if limit is None else limit - len(points.steps)
                yield points, _PAGE_TOKENS.encode(after) if more else None

    async def _read_page(
        self, tenant: Tenant, series: int, after: PointRow | None, size: int
    ) -> tuple[Points, bool]:
        """At most `size` points, and whether there are more."""
        # The next one, too: it may share its timestamp with the last of the page.
        values: dict[str, object] = {"tenant": tenant.id, "series": series, "limit": size + 1}
        if after is not None:
            timestamp, step, value = after
            values |= {"timestamp": timestamp, "step": step, "value": value}
        points = await self._read_history(tenant, values, whole_order=False)
        if not all(map(lt, points.timestamps, islice(points.timestamps, 1, None))):
            points = await self._read_history(tenant, values, whole_order=True)
        more = len(points.steps) > size
        if more:
            for column in points:
                column.pop()
        return points, more

    async def _read_history(
        self, tenant: Tenant, values: dict[str, object], *, whole_order: bool
    ) -> Points:
        statement = sql.read_history(after="step" in values, whole_order=whole_order)
        async with self._database.read_pipeline(tenant) as connection:
            await connection.execute(sql.IN_INDEX_ORDER)
            # In binary form a page of numbers is read in half the time.
            cursor = await connection.cursor(binary=True).execute(statement, values)
        row = await cursor.fetchone()
        assert row is not None
        return Points(*(column or [] for column in row))

    async def histories(
        self, tenant: Tenant, run_ids: Sequence[str], key: str, *, limit: int
    ) -> list[tuple[UUID, int, int, float]]:
        """The first `limit` of (run id, timestamp, step, value), run after run.

        Runs that do not exist have no points, as in MLflow.
        """
        validation.text(key, "metric_key")
        ids = [number for run_id in run_ids if (number := parse_run_id(run_id))]
        async with self._database.read_pipeline(tenant) as connection:
            cursor = await connection.execute(
                sql.READ_HISTORIES,
                {"tenant": tenant.id, "runs": ids, "key": key, "limit": limit},
            )
            return await cursor.fetchall()

    async def interval(
        self,
        tenant: Tenant,
        run_ids: Sequence[str],
        key: str,
        *,
        limit: int,
        step_min: int | None = None,
        step_max: int | None = None,
        render: RenderSample,
    ) -> list[bytes]:
        """For each run, at most `limit` points, evenly spread, the last one always among them.

        Runs that do not exist have no points, as in MLflow. The same places are picked as by
        MLflow 3.17: the first point of each of `limit` parts.
        """
        validation.text(key, "metric_key")
        runs = {run_id: number for run_id in run_ids if (number := parse_run_id(run_id))}
        async with self._database.read_pipeline(tenant) as connection:
            cursor = await connection.execute(
                sql.FIND_SERIES_OF_RUNS,
                {"tenant": tenant.id, "runs": list(runs.values()), "key": key},
            )
        series = {number: (its_id, count) for number, its_id, count in await cursor.fetchall()}
        answers = []
        for run_id in run_ids:
            its_id, count = series.get(runs.get(run_id), (None, 0))
            if its_id is None:
                continue
            # Points are only ever added, so that their number is a version.
            name = (tenant.id, its_id, limit, step_min, step_max, run_id, render)
            body = self._samples.get(name, count)
            if body is None:
                values = _range(tenant, its_id, step_min, step_max)
                body = render(run_id, key, await self._sample(tenant, values, count, limit))
                self._samples.add(name, count, body)
            answers.append(body)
        return answers

    async def _sample(
        self, tenant: Tenant, values: dict[str, object], count: int, limit: int
    ) -> list[PointRow]:
        async with self._database.read_pipeline(tenant) as connection:
            total = await _count(connection, values, count)
            return await _read_even_places(connection, values, total, limit)

    async def sampled(
        self,
        tenant: Tenant,
        run_id: str,
        key: str,
        *,
        max_points: int,
        step_min: int | None = None,
        step_max: int | None = None,
    ) -> Sampled:
        """The points between two steps; where there are more than `max_points` (at least 2),
        the lowest and the highest of each of `max_points // 2` even parts."""
        async with self._database.read_pipeline(tenant) as connection:
            series, count = await _find(connection, tenant, run_id, key)
            if series is None:
                return Sampled([], 0)
            values = _range(tenant, series, step_min, step_max)
            total = await _count(connection, values, count)
            if total <= max_points:
                points = await _read_even_places(connection, values, total, max_points)
                return Sampled(points, total)
            cursor = await connection.execute(
                sql.READ_EXTREMES, values | {"buckets": max_points // 2, "total": total}
            )
            return Sampled(await cursor.fetchall(), total)


def _last(points: Points) -> PointRow:
    return points.timestamps[-1], points.steps[-1], points.values[-1]


async def _find(
    connection: psycopg.AsyncConnection, tenant: Tenant, run_id: str, key: str
) -> tuple[int | None, int]:
    """The id and the number of points of a run's metric; None where it was never logged."""
    validation.text(key, "metric_key")
    number = parse_run_id(run_id)
    if number is None:
        raise RunNotFoundError(run_id)
    cursor = await connection.execute(
        sql.FIND_SERIES, {"tenant": tenant.id, "run": number, "key": key}
    )
    row = await cursor.fetchone()
    if row is None:
        raise RunNotFoundError(run_id)
    series, count = row
    return series, count or 0


def _range(
    tenant: Tenant, series: int, step_min: int | None, step_max: int | None
) -> dict[str, object]:
    return {
        "tenant": tenant.id,
        "series": series,
        "first": validation.INT64_MIN if step_min is None else step_min,
        "last": validation.INT64_MAX if step_max is None else step_max,
    }


async def _count(connection: psycopg.AsyncConnection, values: dict[str, object], whole: int) -> int:
    """How many points lie in the range; `whole` is the series' own count."""
    if values["first"] == validation.INT64_MIN and values["last"] == validation.INT64_MAX:
        return whole
    cursor = await connection.execute(sql.COUNT_BETWEEN, values)
    row = await cursor.fetchone()
    assert row is not None
    count: int = row[0]
    return count


async def _read_even_places(
    connection: psycopg.AsyncConnection, values: dict[str, object], total: int, limit: int
) -> list[PointRow]:
    """Of `total` points all, or one of each of `limit` parts, whose sizes differ by one at most,
    the larger first: its first point, but the last one of the last part."""
    parts = max(1, min(total, limit))
    size, larger = divmod(total, parts)
    await connection.execute(sql.ROOM_TO_SORT)
    cursor = await connection.cursor(binary=True).execute(
        sql.READ_EVEN_PLACES,
        values
        | {
            "total": total,
            "size": max(1, size),
            "larger": larger * (size + 1),
            "last_part": total - size,
        },
    )
    return await cursor.fetchall()
