"""Garbage collection of archived runs, models and experiments, with all that belongs to them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable

import psycopg
import pytest

from app.artifacts.object_keys import object_key
from app.audit import trail
from app.audit.log_reader import Event, Filter
from app.db.database import Database
from app.db.tables import metadata
from app.gc.service import GarbageCollector, Policy
from app.kernel.errors import NotFoundError
from app.kernel.ids import new_uuid
from app.kernel.tenant import Tenant
from app.metrics.entities import Point
from app.runs.entities import Run, RunWrite
from app.services import Services
from tests.integration.artifacts.indexed import (
    chunks,
    new_run,
    objects,
    put,
    read,
    rows,
    run_path,
    used_bytes,
)

HOUR = 3_600_000
NOW = Policy(delete=True, retention=0)
COUNT_ONLY = Policy(retention=0)
POINTS = 25

# What a tenant has before it does anything, and counters, which stay.
LASTING = {"experiments": 1, "metric_series_counters": 1}


@pytest.fixture
def collector(database: Database, services: Services) -> GarbageCollector:
    return GarbageCollector(database, services.artifacts.store)


async def logged_run(services: Services, tenant: Tenant, experiment_id: str = "0") -> Run:
    """A run with rows in every table that references runs."""
    run = await new_run(services, tenant, experiment_id)
    points = [Point("loss", step / 2, step, step) for step in range(POINTS)]
    write = RunWrite(run.run_id.hex, points, {"p": "1"}, {"t": "1"})
    await services.runs.log(tenant, write)
    await put(services.artifacts, tenant, run_path(run, "model/a"), b"123")
    await put(services.artifacts, tenant, run_path(run, "b"), b"4567")
    return run


async def everything(database: Database, tenant: Tenant) -> dict[str, int]:
    """The number of the tenant's rows, by table; without tables that always have rows, and without
    the audit log, which outlives its targets."""
    others = ("tenants", "artifact_usage", "audit_log")
    tables = [name for name in metadata.tables if name not in others]
    found = {name: await rows(database, tenant, name) for name in tables}
    return {name: count for name, count in found.items() if count and count != LASTING.get(name)}


class TestRuns:
    async def test_go_with_all_that_they_have(
        self, services: Services, database: Database, tenant: Tenant, collector: GarbageCollector
    ) -> None:
        run = await logged_run(services, tenant)
        await services.runs.delete(tenant, run.run_id.hex)
        report = await collector.collect(tenant, NOW)
        assert (report.runs, report.points) == (1, POINTS)
        assert (report.files.count, report.files.bytes) == (2, 7)
        assert report.clean
        assert await everything(database, tenant) == {}
        assert await objects(services.artifacts.store, tenant) == []
        assert await used_bytes(database, tenant) == 0
        with pytest.raises(NotFoundError):
            await services.runs.restore(tenant, run.run_id.hex)

    async def test_active_ones_stay(
        self, services: Services, tenant: Tenant, collector: GarbageCollector
    ) -> None:
        run = await logged_run(services, tenant)
        gone = await logged_run(services, tenant)
        await services.runs.delete(tenant, gone.run_id.hex)
        assert (await collector.collect(tenant, NOW)).runs == 1
        kept = await services.runs.get(tenant, run.run_id.hex)
        assert (kept.params, kept.metrics[0].value) == ({"p": "1"}, (POINTS - 1) / 2)
        history, _ = await services.metrics.history(tenant, run.run_id.hex, "loss", limit=1000)
        assert list(history.steps) == list(range(POINTS))
        assert await read(services.artifacts, tenant, run_path(run, "b")) == b"4567"

    @pytest.mark.parametrize("policy", [Policy(delete=True), Policy(delete=True, retention=HOUR)])
    async def test_not_yet(
        self, services: Services, tenant: Tenant, collector: GarbageCollector, policy: Policy
    ) -> None:
        run = await logged_run(services, tenant)
        await services.runs.delete(tenant, run.run_id.hex)
        report = await collector.collect(tenant, policy)
        assert (report.runs, report.points, report.files.count) == (0, 0, 0)
        await services.runs.restore(tenant, run.run_id.hex)
        assert await read(services.artifacts, tenant, run_path(run, "model/a")) == b"123"

    async def test_dry_run_tells_the_same_and_removes_nothing(
        self, services: Services, database: Database, tenant: Tenant, collector: GarbageCollector
    ) -> None:
        experiment = str(await services.experiments.create(tenant, "e"))
        for where in ("0", experiment):
            await logged_run(services, tenant, where)
        model = await services.models.create(tenant, experiment, name="m")
        path = f"experiments/{experiment}/models/{model.model_id}/artifacts/MLmodel"
        await put(services.artifacts, tenant, path)
        run = await logged_run(services, tenant)
        await services.runs.delete(tenant, run.run_id.hex)
        await services.experiments.delete(tenant, experiment)
        before = await everything(database, tenant)
        foreseen = await collector.collect(tenant, COUNT_ONLY)
        assert await everything(database, tenant) == before
        assert foreseen == await collector.collect(tenant, NOW)
        assert (foreseen.experiments, foreseen.runs, foreseen.models) == (1, 2, 1)
        assert foreseen.files.count == 5

    async def test_another_tenants_stay(
        self,
        services: Services,
        database: Database,
        tenant: Tenant,
        other_tenant: Tenant,
        collector: GarbageCollector,
    ) -> None:
        run = await logged_run(services, other_tenant)
        await services.runs.delete(other_tenant, run.run_id.hex)
        before = await everything(database, other_tenant)
        assert (await collector.collect(tenant, NOW)).runs == 0
        assert await everything(database, other_tenant) == before

    async def test_used_by_the_registry(
        self, services: Services, tenant: Tenant, collector: GarbageCollector
    ) -> None:
        run = await logged_run(services, tenant)
        await services.registered_models.create(tenant, "champion")
        await services.model_versions.create(
            tenant, "champion", source=f"{run.artifact_uri}/model", run_id=run.run_id.hex
        )
        await services.runs.delete(tenant, run.run_id.hex)
        assert (await collector.collect(tenant, COUNT_ONLY)).kept == 1
        report = await collector.collect(tenant, NOW)
        assert (report.runs, report.kept) == (0, 1)
        assert await read(services.artifacts, tenant, run_path(run, "model/a")) == b"123"
        await services.model_versions.delete(tenant, "champion", "1")
        report = await collector.collect(tenant, NOW)
        assert (report.runs, report.kept, report.files.count) == (1, 0, 2)

    async def test_many(
        self, services: Services, database: Database, tenant: Tenant, collector: GarbageCollector
    ) -> None:
        """More runs than one transaction deletes."""
        runs = await asyncio.gather(*(new_run(services, tenant) for _ in range(230)))
        for run in runs[:-1]:
            await services.runs.delete(tenant, run.run_id.hex)
        assert (await collector.collect(tenant, NOW)).runs == 229
        assert await rows(database, tenant, "runs") == 1


async def told(services: Services, tenant: Tenant) -> list[Event]:
    """The audit log's entries of garbage collection; unordered within a millisecond."""
    events, _ = await services.audit.of_tenant(tenant, Filter(), limit=1000)
    return [event for event in events if event.action.startswith("gc.")]


class TestAudit:
    async def test_what_is_removed_for_good(
        self, services: Services, tenant: Tenant, other_tenant: Tenant, collector: GarbageCollector
    ) -> None:
        experiment = str(await services.experiments.create(tenant, "e"))
        inside = await logged_run(services, tenant, experiment)
        model = await services.models.create(tenant, experiment)
        alone = await logged_run(services, tenant)
        await logged_run(services, tenant)
        await services.runs.delete(tenant, alone.run_id.hex)
        await services.experiments.delete(tenant, experiment)
        await collector.collect(tenant, COUNT_ONLY)
        assert await told(services, tenant) == []
        await collector.collect(tenant, NOW)
        events = await told(services, tenant)
        assert sorted((event.action, event.target) for event in events) == sorted(
            [
                ("gc.run", inside.run_id.hex),
                ("gc.run", alone.run_id.hex),
                ("gc.logged_model", model.model_id),
                ("gc.experiment", experiment),
            ]
        )
        assert {(event.tenant, event.actor) for event in events} == {(tenant.slug, "command-line")}
        assert await told(services, other_tenant) == []
        await collector.collect(tenant, NOW)
        assert await told(services, tenant) == events

    async def test_neither_is_there_without_the_other(
        self,
        services: Services,
        tenant: Tenant,
        collector: GarbageCollector,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        run = await logged_run(services, tenant)
        await services.runs.delete(tenant, run.run_id.hex)
        with monkeypatch.context() as patch:
            patch.setattr(trail, "INSERT", "SELECT 1 / 0")
            with pytest.raises(psycopg.errors.DivisionByZero):
                await collector.collect(tenant, NOW)
        await services.runs.restore(tenant, run.run_id.hex)
        assert await told(services, tenant) == []

    async def test_one_that_is_restored_is_not_told_of(
        self, services: Services, database: Database, tenant: Tenant, collector: GarbageCollector
    ) -> None:
        run = await logged_run(services, tenant)
        await services.runs.delete(tenant, run.run_id.hex)
        await while_uncommitted(
            database,
            tenant,
            f"UPDATE runs SET deleted_time = NULL WHERE run_id = '{run.run_id}'",
            collector.collect(tenant, NOW),
        )
        assert await told(services, tenant) == []

    async def test_objects_of_no_file_and_files_of_no_object(
        self, services: Services, tenant: Tenant, collector: GarbageCollector
    ) -> None:
        run, store = await logged_run(services, tenant), services.artifacts.store
        for content in (b"12", b"345"):
            await store.put(
                tenant.slug,
                object_key(run_path(run, "b"), new_uuid()),
                chunks(content),
                content_length=len(content),
                content_type="text/plain",
            )
        lost = await put(services.artifacts, tenant, run_path(run, "lost"))
        await store.delete(tenant.slug, [lost.key])
        for name in ("c", "d", "e"):
            await store.create_upload(
                tenant.slug, object_key(run_path(run, name), new_uuid()), content_type=""
            )
        await collector.collect(tenant, Policy(grace=-HOUR))
        assert await told(services, tenant) == []
        await collector.collect(tenant, Policy(delete=True, grace=-HOUR))
        events = await told(services, tenant)
        assert {event.action: (event.target, event.details) for event in events} == {
            "gc.uploads": (tenant.slug, {"uploads": 3}),
            "gc.objects": (tenant.slug, {"objects": 2, "bytes": 5}),
            "gc.lost_file": (lost.path, {}),
        }
        assert len(events) == 3


class TestModels:
    async def test_deleted_ones_go(
        self, services: Services, database: Database, tenant: Tenant, collector: GarbageCollector
    ) -> None:
        model = await services.models.create(tenant, "0", params={"p": "1"}, tags={"t": "1"})
        path = f"experiments/0/models/{model.model_id}/artifacts/MLmodel"
        await put(services.artifacts, tenant, path)
        kept = await services.models.create(tenant, "0")
        await services.models.delete(tenant, model.model_id)
        report = await collector.collect(tenant, NOW)
        assert (report.models, report.files.count) == (1, 1)
        assert await everything(database, tenant) == {"logged_models": 1}
        assert await objects(services.artifacts.store, tenant) == []
        assert (await services.models.get(tenant, kept.model_id)).name == kept.name


class TestExperiments:
    async def test_go_with_all_that_they_have(
        self, services: Services, database: Database, tenant: Tenant, collector: GarbageCollector
    ) -> None:
        experiment = str(await services.experiments.create(tenant, "e", tags={"t": "1"}))
        await logged_run(services, tenant, experiment)
        model = await services.models.create(tenant, experiment)
        path = f"experiments/{experiment}/models/{model.model_id}/artifacts/MLmodel"
        await put(services.artifacts, tenant, path)
        await services.experiments.delete(tenant, experiment)
        report = await collector.collect(tenant, NOW)
        assert (report.experiments, report.runs, report.models) == (1, 1, 1)
        assert report.files.count == 3
        assert await everything(database, tenant) == {}
        assert await objects(services.artifacts.store, tenant) == []
        await services.experiments.create(tenant, "e")  # the name is free again

    async def test_with_many_models(
        self, services: Services, database: Database, tenant: Tenant, collector: GarbageCollector
    ) -> None:
        """More files than one transaction deletes, or can lock."""
        experiment = str(await services.experiments.create(tenant, "e"))
        for _ in range(25):
            await asyncio.gather(*(services.models.create(tenant, experiment) for _ in range(10)))
        await services.experiments.delete(tenant, experiment)
        report = await collector.collect(tenant, NOW)
        assert (report.experiments, report.models) == (1, 250)
        assert await everything(database, tenant) == {}

    async def test_one_with_an_active_run_stays(
        self, services: Services, tenant: Tenant, collector: GarbageCollector
    ) -> None:
        experiment = str(await services.experiments.create(tenant, "e"))
        run = await logged_run(services, tenant, experiment)
        await services.experiments.delete(tenant, experiment)
        await services.runs.restore(tenant, run.run_id.hex)
        report = await collector.collect(tenant, NOW)
        assert (report.experiments, report.runs) == (0, 0)
        await services.experiments.restore(tenant, experiment)

    async def test_the_one_of_those_who_name_none_stays(
        self, services: Services, tenant: Tenant, collector: GarbageCollector
    ) -> None:
        run = await logged_run(services, tenant)
        await services.experiments.delete(tenant, "0")
        report = await collector.collect(tenant, NOW)
        assert (report.experiments, report.runs) == (0, 1)
        await services.experiments.restore(tenant, "0")
        with pytest.raises(NotFoundError):
            await services.runs.get(tenant, run.run_id.hex)


async def blocked(database: Database, tenant: Tenant) -> None:
    """Returns once a statement waits for a lock."""
    async with asyncio.timeout(10):
        while True:
            async with database.write_pipeline(tenant) as connection:
                cursor = await connection.execute(
                    "SELECT FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
                )
                if await cursor.fetchone() is not None:
                    return


async def while_uncommitted(
    database: Database, tenant: Tenant, statement: str, action: Awaitable[object]
) -> object:
    """The result of an action that starts while a statement's transaction is open."""
    async with database.write(tenant) as connection:
        await connection.exec_driver_sql(statement)
        task = asyncio.ensure_future(action)
        await blocked(database, tenant)
    return await task


@pytest.fixture
async def archived(services: Services, tenant: Tenant) -> tuple[str, Run]:
    """An archived experiment with a run."""
    experiment = str(await services.experiments.create(tenant, "e"))
    run = await logged_run(services, tenant, experiment)
    await services.experiments.delete(tenant, experiment)
    return experiment, run


class TestRestoreAtTheSameMoment:
    async def test_of_a_run_that_comes_first(
        self, services: Services, database: Database, tenant: Tenant, collector: GarbageCollector
    ) -> None:
        run = await logged_run(services, tenant)
        await services.runs.delete(tenant, run.run_id.hex)
        report = await while_uncommitted(
            database,
            tenant,
            f"UPDATE runs SET deleted_time = NULL WHERE run_id = '{run.run_id}'",
            collector.collect(tenant, NOW),
        )
        assert report.runs == 0
        kept = await services.runs.get(tenant, run.run_id.hex)
        assert (kept.deleted_time, len(kept.metrics)) == (None, 1)
        assert await read(services.artifacts, tenant, run_path(run, "b")) == b"4567"

    async def test_of_a_run_that_comes_second(
        self, services: Services, database: Database, tenant: Tenant
    ) -> None:
        run = await logged_run(services, tenant)
        await services.runs.delete(tenant, run.run_id.hex)
        with pytest.raises(NotFoundError):
            await while_uncommitted(
                database,
                tenant,
                f"DELETE FROM runs WHERE run_id = '{run.run_id}'",
                services.runs.restore(tenant, run.run_id.hex),
            )

    async def test_of_an_experiment_that_comes_first(
        self,
        services: Services,
        database: Database,
        tenant: Tenant,
        collector: GarbageCollector,
        archived: tuple[str, Run],
    ) -> None:
        experiment, run = archived
        report = await while_uncommitted(
            database,
            tenant,
            f"WITH e AS (UPDATE experiments SET deleted_time = NULL"
            f" WHERE experiment_id = {experiment})"
            f" UPDATE runs SET deleted_time = NULL WHERE experiment_id = {experiment}",
            collector.collect(tenant, NOW),
        )
        assert (report.experiments, report.runs) == (0, 0)
        assert (await services.runs.get(tenant, run.run_id.hex)).deleted_time is None

    async def test_of_an_experiment_that_is_being_removed(
        self,
        services: Services,
        database: Database,
        tenant: Tenant,
        collector: GarbageCollector,
        archived: tuple[str, Run],
    ) -> None:
        experiment, run = archived

        def killed(what: str, _done: int, _of: int | None) -> None:
            raise KeyboardInterrupt(what)

        with pytest.raises(KeyboardInterrupt, match="archived runs"):
            await collector.collect(tenant, NOW, killed)
        for restored in (
            services.experiments.restore(tenant, experiment),
            services.runs.restore(tenant, run.run_id.hex),
        ):
            with pytest.raises(NotFoundError):
                await restored
        report = await collector.collect(tenant, NOW)
        assert (report.experiments, report.files.count) == (1, 2)
        assert await everything(database, tenant) == {}

    async def test_an_upload_to_a_run_that_goes(
        self, services: Services, database: Database, tenant: Tenant, collector: GarbageCollector
    ) -> None:
        """Its bytes are stored when the run is deleted: it is refused, and leaves no object."""
        run = await new_run(services, tenant)
        path = run_path(run, "late")

        async def body() -> AsyncIterator[bytes]:
            yield b"x"
            await services.runs.delete(tenant, run.run_id.hex)
            assert (await collector.collect(tenant, NOW)).runs == 1

        with pytest.raises(NotFoundError):
            await services.artifacts.put(
                tenant, path, body(), content_length=None, content_type="text/plain"
            )
        assert await everything(database, tenant) == {}
        assert await objects(services.artifacts.store, tenant) == []


class TestKilled:
    async def test_at_every_step(
        self, services: Services, database: Database, tenant: Tenant, collector: GarbageCollector
    ) -> None:
        """gc is killed at every report of progress; the next run completes the work."""
        kept = await logged_run(services, tenant)
        for _ in range(3):
            run = await logged_run(services, tenant)
            await services.runs.delete(tenant, run.run_id.hex)
        places = 0
        while True:
            left = places

            def killed(_what: str, _done: int, _of: int | None) -> None:
                nonlocal left
                left -= 1
                if left < 0:
                    raise KeyboardInterrupt

            try:
                await collector.collect(tenant, NOW, killed)
                break
            except KeyboardInterrupt:
                places += 1
                run = await logged_run(services, tenant)
                await services.runs.delete(tenant, run.run_id.hex)
        assert places > 3
        report = await collector.collect(tenant, Policy(delete=True, grace=-HOUR))
        assert (report.runs, report.points, report.files.count) == (0, 0, 0)
        assert await rows(database, tenant, "runs") == 1
        assert await rows(database, tenant, "metric_points") == POINTS
        assert await rows(database, tenant, "purged_series") == 0
        assert len(await objects(services.artifacts.store, tenant)) == 2
        assert await read(services.artifacts, tenant, run_path(kept, "b")) == b"4567"
