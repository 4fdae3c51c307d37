"""A series of any length is read by page, and sampled, in memory that does not grow with it."""

import math
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.db.database import Database
from app.kernel.tenant import Tenant
from app.metrics.entities import Point, PointColumns, PointRow
from app.metrics.service import Metrics
from app.runs.entities import RunWrite
from app.services import Services
from tests.conftest import Postgres
from tests.support.backend_memory import growth

POINTS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(-2, 3),
        st.sampled_from([-math.inf, -1.0, 0.0, 2.5, math.inf, math.nan]),
    ),
    min_size=1,
    max_size=40,
)
MANY = 500_000
# Whole, so many points take a backend some 60 MB and more.
MOST_MB = 40


def rows(points: PointColumns) -> list[PointRow]:
    return list(zip(*points, strict=True))


def in_order(points: list[PointRow]) -> list[PointRow]:
    """Without twins, by timestamp, step and value; NaN comes last, as Postgres has it."""
    return sorted({str(p): p for p in points}.values(), key=lambda p: (p[:2], math.isnan(p[2]), p))


async def logged(services: Services, tenant: Tenant, points: list[PointRow]) -> str:
    run_id = (await services.runs.create(tenant, "0")).run_id.hex
    write = RunWrite(run_id, [Point("m", value, time, step) for time, step, value in points])
    await services.runs.log(tenant, write)
    return run_id


class TestPages:
    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(points=POINTS, page=st.integers(1, 6))
    async def test_are_the_whole_history(
        self, services: Services, tenant: Tenant, points: list[PointRow], page: int
    ) -> None:
        """Wherever pages end, also between points that share a timestamp."""
        run_id = await logged(services, tenant, points)
        pages = [
            rows(one)
            async for one, _ in services.metrics.history_pages(tenant, run_id, "m", size=page)
        ]
        expected = in_order(points)
        assert str([row for one in pages for row in one]) == str(expected)
        assert all(1 <= len(one) <= page for one in pages)
        assert len(pages) == math.ceil(len(expected) / page)

    async def test_no_connection_is_held_between_them(
        self, services: Services, tenant: Tenant
    ) -> None:
        run_id = await logged(services, tenant, [(step, step, 0.0) for step in range(5)])
        async for _ in services.metrics.history_pages(tenant, run_id, "m", size=2):
            assert services.database.pool_statistics().in_use == 0


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(points=POINTS, limit=st.integers(1, 12))
async def test_an_interval_has_the_first_of_each_even_part_and_the_last_of_all(
    services: Services, tenant: Tenant, points: list[PointRow], limit: int
) -> None:
    run_id = await logged(services, tenant, points)
    stored = sorted(in_order(points), key=lambda p: (p[1], p[0], math.isnan(p[2]), p[2]))
    (body,) = await services.metrics.sample_evenly(
        tenant, [run_id], "m", limit=limit, render=lambda _, __, found: str(found).encode()
    )
    assert body.decode() == str([stored[place] for place in even_places(len(stored), limit)])


def even_places(total: int, limit: int) -> list[int]:
    """As MLflow picks them."""
    if total <= limit:
        return list(range(total))
    size, larger = divmod(total, limit)
    places = [part * size + min(part, larger) for part in range(limit)]
    places[-1] = total - 1
    return places


@pytest_asyncio.fixture(scope="module")
async def long_series(
    services: Services,
) -> tuple[Tenant, str]:
    """A run whose metric `m` has many points, put there past the service."""
    tenant = await services.tenant_lookup.resolve("t-long-series", create=True)
    run_id = await logged(services, tenant, [(0, 0, 0.0)])
    values = {"run": UUID(run_id), "many": MANY}
    async with services.database.write_pipeline(tenant) as connection:
        await connection.execute("SELECT set_config('statement_timeout', '0', true)")
        await connection.execute(
            "INSERT INTO metric_points (tenant_id, series_id, timestamp, step, value)"
            " SELECT tenant_id, series_id, place, place, sin(place)"
            " FROM metric_series, generate_series(1, %(many)s - 1) AS place"
            " WHERE run_id = %(run)s",
            values,
        )
        await connection.execute(
            "UPDATE metric_series SET point_count = %(many)s WHERE run_id = %(run)s", values
        )
    return tenant, run_id


@pytest_asyncio.fixture
async def alone(postgres: Postgres) -> AsyncIterator[Database]:
    """One connection, so that it is known which backend answers."""
    database = Database(postgres.app_url, pool_size=1)
    yield database
    await database.close()


class TestPostgresStaysSmall:
    @pytest.mark.parametrize("what", ["page by page", "whole", "interval", "sampled", "bulk"])
    async def test_however_long_the_series(
        self, alone: Database, long_series: tuple[Tenant, str], what: str
    ) -> None:
        tenant, run_id = long_series
        metrics = Metrics(alone)
        assert await growth(alone, tenant, self._read(metrics, tenant, run_id, what)) < MOST_MB

    async def _read(self, metrics: Metrics, tenant: Tenant, run_id: str, what: str) -> None:
        if what == "page by page":
            count = 0
            async for page, _ in metrics.history_pages(tenant, run_id, "m"):
                count += len(page.steps)
            assert count == MANY
        elif what == "whole":
            points, token = await metrics.history(tenant, run_id, "m")
            assert (len(points.steps), token) == (MANY, None)
        elif what == "interval":
            (body,) = await metrics.sample_evenly(
                tenant, [run_id], "m", limit=320, render=lambda _, __, found: b"x" * len(found)
            )
            assert len(body) == 320
        elif what == "sampled":
            sampled = await metrics.sample_extremes(tenant, run_id, "m", max_points=1_000)
            assert (len(sampled.points), sampled.total) == (1_000, MANY)
        else:
            assert len(await metrics.histories(tenant, [run_id], "m", limit=25_000)) == 25_000
