"""The write path: which writes are accepted or refused, and what Postgres holds afterwards."""

import asyncio
import math
from collections.abc import AsyncIterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.db.coalescer import Coalescer
from app.db.database import Database
from app.kernel.errors import (
    ConflictError,
    LoggedModelNotFoundError,
    RunNotActiveError,
    RunNotFoundError,
)
from app.kernel.tenant import Tenant
from app.metrics.entities import LatestMetric, Point
from app.runs.batch_writer import write_queue
from app.runs.entities import RunWrite
from app.services import Services

# Few values, so that points repeat and tie.
VALUES = st.sampled_from([-math.inf, -1.0, -0.0, 0.0, 1.0, 2.5, math.inf, math.nan])
POINTS = st.builds(
    Point,
    key=st.sampled_from(["loss", "acc/val"]),
    value=VALUES,
    timestamp=st.integers(0, 2),
    step=st.integers(-1, 1),
)
BATCHES = st.lists(st.lists(POINTS, max_size=8), min_size=1, max_size=5)


async def new_run(services: Services, tenant: Tenant) -> str:
    return (await services.runs.create(tenant, "0")).run_id.hex


def identity(point: Point) -> tuple[int, int, str]:
    """What makes two points the same row; -0.0 and 0.0 are one, and so are NaNs."""
    return point.timestamp, point.step, str(point.value + 0.0)


def recency(point: Point) -> tuple[int, int, float]:
    return point.step, point.timestamp, 0.0 if math.isnan(point.value) else point.value


class TestMetricSeries:
    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(batches=BATCHES)
    async def test_agrees_with_a_model(
        self, services: Services, tenant: Tenant, batches: list[list[Point]]
    ) -> None:
        """The summary of a series, and its history, after any batches."""
        run_id = await new_run(services, tenant)
        for batch in batches:
            await services.runs.log(tenant, RunWrite(run_id, batch))
        logged = [point for batch in batches for point in batch]
        series = await read_series(services.database, tenant, run_id)
        assert series.keys() == {point.key for point in logged}
        for key, (latest, count, least, greatest) in series.items():
            points = {identity(point): point for point in logged if point.key == key}
            assert count == len(points)
            best = max(map(recency, points.values()))
            assert recency(Point(key, latest.value, latest.timestamp, latest.step)) == best
            numbers = [p.value for p in points.values() if not math.isnan(p.value)]
            assert least == min(numbers, default=None)
            assert greatest == max(numbers, default=None)
            history, _ = await services.metrics.history(tenant, run_id, key)
            rows = list(zip(*history, strict=True))
            assert {(t, s, str(v + 0.0)) for t, s, v in rows} == set(points)
            assert len(rows) == len(points)

    async def test_points_are_stored_once_whatever_order_they_come_in(
        self, services: Services, tenant: Tenant
    ) -> None:
        """Batches in order, late, repeated in part, and with one timestamp for all points."""
        run_id = await new_run(services, tenant)
        rising = [Point("loss", i / 7, 1_000 + i, i) for i in range(100)]
        together = [Point("loss", i / 3, 2_000, 100 + i) for i in range(100)]
        for batch in (rising[50:], rising[:60], together[:70], together[30:], rising + together):
            await services.runs.log(tenant, RunWrite(run_id, batch))
        history, _ = await services.metrics.history(tenant, run_id, "loss")
        assert list(zip(*history, strict=True)) == [
            (p.timestamp, p.step, p.value) for p in rising + together
        ]
        (_, count, least, greatest) = (await read_series(services.database, tenant, run_id))["loss"]
        assert (count, least, greatest) == (200, 0.0, 33.0)

    @settings(
        max_examples=30,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(batch=st.lists(POINTS, min_size=1, max_size=30), limit=st.integers(1, 5))
    async def test_pages_of_a_history_are_the_history(
        self, services: Services, tenant: Tenant, batch: list[Point], limit: int
    ) -> None:
        """Wherever pages end, also between points that share a timestamp."""
        run_id = await new_run(services, tenant)
        key = batch[0].key
        await services.runs.log(tenant, RunWrite(run_id, batch))
        whole, _ = await services.metrics.history(tenant, run_id, key)
        pages: list[list[float]] = [[], [], []]
        token: str | None = None
        while True:
            page, token = await services.metrics.history(
                tenant, run_id, key, limit=limit, page_token=token
            )
            for column, more in zip(pages, page, strict=True):
                column.extend(more)
            if token is None:
                break
        assert str(pages) == str([list(column) for column in whole])

    async def test_a_retry_changes_nothing(self, services: Services, tenant: Tenant) -> None:
        run_id = await new_run(services, tenant)
        write = RunWrite(run_id, [Point("loss", float(i), i, i) for i in range(100)])
        await services.runs.log(tenant, write)
        before = await read_series(services.database, tenant, run_id)
        await services.runs.log(tenant, write)
        assert await read_series(services.database, tenant, run_id) == before


async def read_series(
    database: Database, tenant: Tenant, run_id: str
) -> dict[str, tuple[LatestMetric, int, float | None, float | None]]:
    async with database.write_pipeline(tenant) as connection:
        cursor = await connection.execute_numbered(
            "SELECT key, last_value, last_timestamp, last_step, point_count, min_value, max_value"
            " FROM metric_series WHERE run_id = $1",
            [run_id],
        )
        rows = await cursor.fetchall()
    return {row[0]: (LatestMetric(*row[:4]), *row[4:]) for row in rows}


class TestCoalescing:
    async def test_a_refused_write_does_not_affect_its_batch(
        self, services: Services, tenant: Tenant
    ) -> None:
        """Writes that share a transaction are accepted or refused each by itself."""
        run_id, gone = await new_run(services, tenant), await new_run(services, tenant)
        await services.runs.delete(tenant, gone)
        await services.runs.log(tenant, RunWrite(run_id, params={"depth": "1"}))
        writes = {
            "good": RunWrite(run_id, [Point("a", 1.0, 1)], {"depth": "1"}, {"t": "1"}),
            "changed": RunWrite(run_id, [Point("b", 1.0, 1)], {"depth": "2"}, {"u": "1"}),
            "absent": RunWrite("f" * 32, [Point("a", 1.0, 1)]),
            "malformed": RunWrite("no-such-run", [Point("a", 1.0, 1)]),
            "deleted": RunWrite(gone, [Point("a", 1.0, 1)]),
            "model": RunWrite(run_id, [Point("c", 1.0, 1, 0, "m-none")], {}, {"v": "1"}),
            "also good": RunWrite(run_id, [Point("d", 1.0, 1)], {"width": "3"}),
        }
        answers = await asyncio.gather(
            *(services.runs.log(tenant, write) for write in writes.values()),
            return_exceptions=True,
        )
        outcome = dict(zip(writes, map(type, answers), strict=True))
        assert outcome == {
            "good": type(None),
            "changed": ConflictError,
            "absent": RunNotFoundError,
            "malformed": RunNotFoundError,
            "deleted": RunNotActiveError,
            "model": LoggedModelNotFoundError,
            "also good": type(None),
        }
        run = await services.runs.get(tenant, run_id)
        assert [metric.key for metric in run.metrics] == ["a", "d"]
        assert run.params == {"depth": "1", "width": "3"}
        assert run.tags.keys() & {"t", "u", "v"} == {"t"}

    async def test_of_several_values_for_a_param_one_is_stored(
        self, services: Services, tenant: Tenant
    ) -> None:
        run_id = await new_run(services, tenant)
        answers = await asyncio.gather(
            *(services.runs.log(tenant, RunWrite(run_id, params={"p": str(i)})) for i in range(9)),
            return_exceptions=True,
        )
        (winner,) = [i for i, answer in enumerate(answers) if answer is None]
        assert (await services.runs.get(tenant, run_id)).params == {"p": str(winner)}

    async def test_the_last_value_of_a_tag_is_stored(
        self, services: Services, tenant: Tenant
    ) -> None:
        run_id = await new_run(services, tenant)
        await asyncio.gather(
            *(
                services.runs.log(
                    tenant, RunWrite(run_id, tags={"t": str(i), "mlflow.runName": f"run {i}"})
                )
                for i in range(9)
            )
        )
        run = await services.runs.get(tenant, run_id)
        assert (run.tags["t"], run.name) == ("8", "run 8")

    async def test_a_write_that_postgres_refuses_fails_alone(
        self, services: Services, tenant: Tenant
    ) -> None:
        """If validation accepts a value that Postgres refuses, the other writes are committed."""
        run_id = await new_run(services, tenant)
        queue = write_queue(services.database)
        answers = await asyncio.gather(
            queue.submit(tenant, RunWrite(run_id, tags={"a": "1"})),
            queue.submit(tenant, RunWrite(run_id, tags={"b": "NUL \x00"})),
            queue.submit(tenant, RunWrite(run_id, tags={"c": "3"})),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [type(None), psycopg.DataError, type(None)]
        tags = (await services.runs.get(tenant, run_id)).tags
        assert tags.keys() & {"a", "b", "c"} == {"a", "c"}

    async def test_tenants_do_not_wait_for_one_another(
        self, services: Services, tenant: Tenant, other_tenant: Tenant
    ) -> None:
        """While one tenant's run is locked, another tenant's writes go through."""
        ours, theirs = await new_run(services, tenant), await new_run(services, other_tenant)
        async with services.database.write_pipeline(tenant) as connection:
            await (await connection.execute("SELECT run_id FROM runs FOR UPDATE")).fetchall()
            blocked = asyncio.create_task(
                services.runs.log(tenant, RunWrite(ours, [Point("a", 1.0, 1)]))
            )
            await services.runs.log(other_tenant, RunWrite(theirs, [Point("a", 1.0, 1)]))
            assert not blocked.done()
        await blocked


class TestConcurrentWorkers:
    """Several coalescers, as of several workers, write to the same runs."""

    @pytest.fixture
    async def queues(self, services: Services) -> AsyncIterator[list[Coalescer[RunWrite, None]]]:
        url = services.settings.database_url
        assert url
        databases = [Database(url, pool_size=2) for _ in range(3)]
        yield [write_queue(database) for database in databases]
        for database in databases:
            await database.close()

    async def test_nothing_is_lost_and_nothing_deadlocks(
        self, services: Services, tenant: Tenant, queues: list[Coalescer[RunWrite, None]]
    ) -> None:
        runs = [await new_run(services, tenant) for _ in range(4)]

        async def work(worker: int, queue: Coalescer[RunWrite, None]) -> None:
            for round_ in range(15):
                await asyncio.gather(
                    *(
                        queue.submit(
                            tenant,
                            RunWrite(
                                run_id,
                                [Point(f"m{round_}", float(worker), worker, round_)],
                                {f"p{round_}": "same"},
                                {f"t{worker}": str(round_)},
                            ),
                        )
                        for run_id in (runs if worker % 2 else reversed(runs))
                    )
                )

        await asyncio.gather(*(work(worker, queue) for worker, queue in enumerate(queues)))
        for run in await services.runs.get_many(tenant, runs):
            assert len(run.params) == 15
            series = await read_series(services.database, tenant, run.run_id.hex)
            assert [count for _, count, *_ in series.values()] == [len(queues)] * 15
            assert {latest.value for latest, *_ in series.values()} == {len(queues) - 1}

    async def test_deleting_an_experiment_meanwhile(
        self, services: Services, tenant: Tenant, queues: list[Coalescer[RunWrite, None]]
    ) -> None:
        """Each write is stored or refused; none hangs."""
        experiment = str(await services.experiments.create(tenant, "meanwhile"))
        runs = [(await services.runs.create(tenant, experiment)).run_id.hex for _ in range(4)]

        async def work(queue: Coalescer[RunWrite, None]) -> int:
            written = 0
            for step in range(40):
                answers = await asyncio.gather(
                    *(queue.submit(tenant, RunWrite(r, [Point("m", 0.0, 0, step)])) for r in runs),
                    return_exceptions=True,
                )
                assert {type(answer) for answer in answers} <= {type(None), RunNotActiveError}
                written += answers.count(None)
            return written

        async def flip() -> None:
            for _ in range(5):
                await services.experiments.delete(tenant, experiment)
                await services.experiments.restore(tenant, experiment)

        results = await asyncio.gather(*(work(queue) for queue in queues[:1]), flip())
        counts = [(await read_series(services.database, tenant, run_id))["m"][1] for run_id in runs]
        assert sum(counts) == results[0]


class TestReaders:
    async def test_see_all_of_a_write_or_nothing(self, services: Services, tenant: Tenant) -> None:
        """A run is read while each write sets a metric, a tag and the name."""
        run_id = await new_run(services, tenant)
        writing = True

        async def write() -> None:
            nonlocal writing
            for step in range(200):
                tags = {"step": str(step), "mlflow.runName": f"step {step}"}
                await services.runs.log(
                    tenant, RunWrite(run_id, [Point("m", float(step), step, step)], {}, tags)
                )
            writing = False

        async def read() -> int:
            seen = set()
            while writing:
                run = await services.runs.get(tenant, run_id)
                if run.metrics:
                    (metric,) = run.metrics
                    seen.add(metric.step)
                    assert run.tags["step"] == str(metric.step)
                    assert run.name == f"step {metric.step}"
            return len(seen)

        (_, *seen) = await asyncio.gather(write(), read(), read())
        assert max(seen) > 1
