"""Reading metrics: histories page by page, and samples of them."""

from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from itertools import islice
from operator import lt
from uuid import UUID

from app.db.database import Database
from app.db.pipeline import Pipeline
from app.kernel import validation
from app.kernel.cache import VersionedCache
from app.kernel.errors import RunNotFoundError
from app.kernel.ids import parse_run_id
from app.kernel.page_tokens import Int64, PageTokenCodec
from app.kernel.tenant import Tenant
from app.metrics import repository
from app.metrics.entities import PointColumns, PointRow, Sample
from app.metrics.repository import SeriesRange

RenderSample = Callable[[str, str, Sequence[PointRow]], bytes]
"""How an API writes sampled points of a run's metric; the first arguments are run id and key."""

# The points that one statement reads of a history, and that MLflow's client asks for at a time.
MAX_PAGE = 25_000

# The memory that a worker spends on rendered samples; 320 points take about 40 kB.
MAX_SAMPLE_BYTES = 8 * 1024 * 1024

# A token holds the last point of its page.
_PAGE_TOKENS: PageTokenCodec[PointRow] = PageTokenCodec(
    tuple[Int64, Int64, float], "it must be the next_page_token of an earlier answer"
)


class Metrics:
    """Reads the points of metrics. They are written by `app.runs.batch_writer`.

    Methods on one run raise RunNotFoundError where the tenant has no such run, and
    InvalidValueError for a key that cannot be stored. A metric that was never logged has no points.
    """

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
    ) -> tuple[PointColumns, str | None]:
        """A page of a metric's points by (timestamp, step, value), and the next page's token.

        Keyset pagination: points that are logged meanwhile shift no page. Raises InvalidValueError
        for a malformed token.
        """
        points = PointColumns([], [], [])
        token = None
        pages = self.history_pages(tenant, run_id, key, limit=limit, page_token=page_token)
        async for page, token in pages:  # noqa: B007 (the token of the last page is returned)
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
    ) -> AsyncIterator[tuple[PointColumns, str | None]]:
        """The points that `history` returns, at most `size` at a time, each page with the token of
        the next one.

        Each page is read in a transaction of its own: no connection is held between pages, and
        neither Postgres nor the worker holds more than a page. Errors are raised before the first
        page.
        """
        after = _PAGE_TOKENS.decode(page_token) if page_token else None
        async with self._database.read_pipeline(tenant) as connection:
            series_id, _ = await _find_series(connection, tenant, run_id, key)
        more = series_id is not None
        while series_id is not None and more and limit != 0:
            size = size if limit is None else min(size, limit)
            points, more = await self._read_page(tenant, series_id, after, size)
            if points.steps:
                after = points.timestamps[-1], points.steps[-1], points.values[-1]
                limit = None if limit is None else limit - len(points.steps)
                yield points, _PAGE_TOKENS.encode(after) if more else None

    async def _read_page(
        self, tenant: Tenant, series_id: int, after: PointRow | None, size: int
    ) -> tuple[PointColumns, bool]:
        """At most `size` points, and whether more follow."""
        # One point more is read, since it may share its timestamp with the last point of the page.
        points = await self._read_points(tenant, series_id, after, size + 1, full_order=False)
        if not all(map(lt, points.timestamps, islice(points.timestamps, 1, None))):
            points = await self._read_points(tenant, series_id, after, size + 1, full_order=True)
        more = len(points.steps) > size
        if more:
            for column in points:
                column.pop()
        return points, more

    async def _read_points(
        self,
        tenant: Tenant,
        series_id: int,
        after: PointRow | None,
        limit: int,
        *,
        full_order: bool,
    ) -> PointColumns:
        async with self._database.read_pipeline(tenant) as connection:
            cursor = await repository.find_page(
                connection, tenant, series_id, after=after, limit=limit, full_order=full_order
            )
        return await repository.read_page(cursor)

    async def histories(
        self, tenant: Tenant, run_ids: Sequence[str], key: str, *, limit: int
    ) -> list[tuple[UUID, int, int, float]]:
        """The first `limit` of (run id, timestamp, step, value), run after run.

        As in MLflow, runs that do not exist have no points. Raises InvalidValueError for a key that
        cannot be stored.
        """
        validation.text(key, "metric_key")
        ids = [number for run_id in run_ids if (number := parse_run_id(run_id))]
        async with self._database.read_pipeline(tenant) as connection:
            return await repository.read_histories(connection, tenant, ids, key, limit)

    async def sample_evenly(
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
        """For each run, at most `limit` evenly spread points, rendered; the last one is among them.

        The same points are picked as by MLflow 3.17: the first of each of `limit` parts. As in
        MLflow, runs that do not exist have no points. Raises InvalidValueError for a key that
        cannot be stored.
        """
        validation.text(key, "metric_key")
        runs = {run_id: number for run_id in run_ids if (number := parse_run_id(run_id))}
        async with self._database.read_pipeline(tenant) as connection:
            cursor = await repository.find_series_of_runs(
                connection, tenant, list(runs.values()), key
            )
        series = {number: (id_, count) for number, id_, count in await cursor.fetchall()}
        samples = []
        for run_id in run_ids:
            series_id, count = series.get(runs.get(run_id), (None, 0))
            if series_id is None:
                continue
            # Points are never changed or removed, so that their number serves as a version.
            cache_key = (tenant.id, series_id, limit, step_min, step_max, run_id, render)
            body = self._samples.get(cache_key, count)
            if body is None:
                points = SeriesRange(tenant.id, series_id, step_min, step_max)
                body = render(run_id, key, await self._read_sample(tenant, points, count, limit))
                self._samples.put(cache_key, count, body)
            samples.append(body)
        return samples

    async def _read_sample(
        self, tenant: Tenant, points: SeriesRange, count: int, limit: int
    ) -> list[PointRow]:
        async with self._database.read_pipeline(tenant) as connection:
            total = await repository.count_points(connection, points, count)
            return await repository.read_even_places(connection, points, total, limit)

    async def sample_extremes(
        self,
        tenant: Tenant,
        run_id: str,
        key: str,
        *,
        max_points: int,
        step_min: int | None = None,
        step_max: int | None = None,
    ) -> Sample:
        """The points between two steps; where there are more than `max_points` (at least 2), the
        lowest and the highest of each of `max_points // 2` even parts."""
        async with self._database.read_pipeline(tenant) as connection:
            series_id, count = await _find_series(connection, tenant, run_id, key, field="key")
            if series_id is None:
                return Sample([], 0)
            points = SeriesRange(tenant.id, series_id, step_min, step_max)
            total = await repository.count_points(connection, points, count)
            if total <= max_points:
                found = await repository.read_even_places(connection, points, total, max_points)
            else:
                found = await repository.read_extremes(connection, points, total, max_points // 2)
            return Sample(found, total)


async def _find_series(
    connection: Pipeline,
    tenant: Tenant,
    run_id: str,
    key: str,
    field: str = "metric_key",
) -> tuple[int | None, int]:
    """The id of a series, or None where the metric was never logged, and its number of points."""
    validation.text(key, field)
    number = parse_run_id(run_id)
    if number is None:
        raise RunNotFoundError(run_id)
    found = await repository.find_series(connection, tenant, number, key)
    if found is None:
        raise RunNotFoundError(run_id)
    return found
