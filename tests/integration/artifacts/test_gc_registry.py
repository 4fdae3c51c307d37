"""Garbage collection beside registrations of versions: files that a version uses are kept,
whichever comes first, and a registration that comes too late is refused."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from app.artifacts.service import Artifacts
from app.audit import trail
from app.db.database import Database
from app.gc import sql
from app.gc.service import GarbageCollector, Policy
from app.kernel.errors import InvalidValueError, NotFoundError, TrackingError
from app.kernel.tenant import Tenant
from app.registry import version_repository
from app.services import Services
from tests.integration.artifacts.indexed import new_run, put, read, run_path

NOW = Policy(delete=True, retention=0)
CONTENT = b"weights"


@pytest.fixture
def collector(database: Database, services: Services) -> GarbageCollector:
    return GarbageCollector(database, services.artifacts.store)


@dataclass
class Archived:
    """An archived run or model with a file; `register` makes a version of it."""

    path: str
    register: Callable[[], Awaitable[Any]]
    exists_after: bool = False  # once it is gone, its source is one that other servers may have


async def of_a_run(services: Services, tenant: Tenant) -> Archived:
    run = await new_run(services, tenant)
    path = run_path(run, "model/weights")
    await put(services.artifacts, tenant, path, CONTENT)
    await services.runs.delete(tenant, run.run_id.hex)
    source = f"{run.artifact_uri}/model"
    return Archived(path, lambda: version(services, tenant, source, run_id=run.run_id.hex))


async def of_a_runs_uri(services: Services, tenant: Tenant) -> Archived:
    run = await new_run(services, tenant)
    path = run_path(run, "model/weights")
    await put(services.artifacts, tenant, path, CONTENT)
    await services.runs.delete(tenant, run.run_id.hex)
    source = f"runs:/{run.run_id.hex}/model"
    return Archived(path, lambda: version(services, tenant, source, run_id=run.run_id.hex), True)


async def of_a_run_of_an_experiment(services: Services, tenant: Tenant) -> Archived:
    experiment = str(await services.experiments.create(tenant, "e"))
    run = await new_run(services, tenant, experiment)
    path = run_path(run, "model/weights")
    await put(services.artifacts, tenant, path, CONTENT)
    await services.experiments.delete(tenant, experiment)
    source = f"{run.artifact_uri}/model"
    return Archived(path, lambda: version(services, tenant, source, run_id=run.run_id.hex))


async def of_a_model_of_an_experiment(services: Services, tenant: Tenant) -> Archived:
    """The model itself is active: it is deleted along with its experiment."""
    experiment = str(await services.experiments.create(tenant, "e"))
    model = await services.models.create(tenant, experiment)
    path = f"experiments/{experiment}/models/{model.model_id}/artifacts/weights"
    await put(services.artifacts, tenant, path, CONTENT)
    await services.experiments.delete(tenant, experiment)
    source, model_id = f"models:/{model.model_id}", model.model_id
    return Archived(path, lambda: version(services, tenant, source, model_id=model_id))


async def of_a_version(services: Services, tenant: Tenant) -> Archived:
    """A copy of a version that is deleted at the same moment."""
    it = await of_a_run(services, tenant)
    await services.registered_models.create(tenant, "original")
    run_id = it.path.split("/")[3]
    source = f"mlflow-artifacts:/{it.path.rpartition('/')[0]}"
    await services.model_versions.create(tenant, "original", source, run_id=run_id)

    async def copy() -> None:
        await version(services, tenant, "models:/original/1")

    return Archived(it.path, copy)


async def version(services: Services, tenant: Tenant, source: str, **more: str) -> None:
    await services.model_versions.create(tenant, "champion", source, **more)


KINDS = [of_a_run, of_a_runs_uri, of_a_run_of_an_experiment, of_a_model_of_an_experiment]
Make = Callable[[Services, Tenant], Awaitable[Archived]]


@pytest.fixture
async def champion(services: Services, tenant: Tenant) -> None:
    await services.registered_models.create(tenant, "champion")


class Held:
    """A call that does its work, and then waits until the test lets it return."""

    def __init__(self, call: Callable[..., Awaitable[Any]]) -> None:
        self._call = call
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, *arguments: Any, **more: Any) -> Any:
        result = await self._call(*arguments, **more)
        self.reached.set()
        await self.go_on.wait()
        return result


async def waits_or_ends(database: Database, tenant: Tenant, task: "asyncio.Task[Any]") -> None:
    """Returns once the task waits for a lock, or is done."""
    async with asyncio.timeout(30):
        while not task.done():
            async with database.write_pipeline(tenant) as connection:
                cursor = await connection.execute(
                    "SELECT FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
                )
                if await cursor.fetchone() is not None:
                    return
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("champion")
@pytest.mark.parametrize("make", KINDS)
async def test_a_version_that_comes_first(
    services: Services,
    database: Database,
    tenant: Tenant,
    collector: GarbageCollector,
    monkeypatch: pytest.MonkeyPatch,
    make: Make,
) -> None:
    """The registration is not committed yet when garbage collection reads."""
    it = await make(services, tenant)
    held = Held(version_repository.create)
    monkeypatch.setattr(version_repository, "create", held)
    registering = asyncio.ensure_future(it.register())
    await asyncio.wait_for(held.reached.wait(), 30)
    collecting = asyncio.ensure_future(collector.collect(tenant, NOW))
    await waits_or_ends(database, tenant, collecting)
    held.go_on.set()
    await registering
    report = await collecting
    assert (report.experiments, report.runs, report.models, report.files.count) == (0, 0, 0, 0)
    assert await read(services.artifacts, tenant, it.path) == CONTENT
    # And so it stays.
    assert (await collector.collect(tenant, NOW)).files.count == 0


@pytest.mark.usefixtures("champion")
async def test_a_copy_of_a_version_that_is_deleted_meanwhile(
    services: Services,
    database: Database,
    tenant: Tenant,
    collector: GarbageCollector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    it = await of_a_version(services, tenant)
    with monkeypatch.context() as patch:
        held = Held(version_repository.lock_version)
        patch.setattr(version_repository, "lock_version", held)
        copying = asyncio.ensure_future(it.register())
        await asyncio.wait_for(held.reached.wait(), 30)
    deleting = asyncio.ensure_future(services.model_versions.delete(tenant, "original", "1"))
    await waits_or_ends(database, tenant, deleting)
    assert not deleting.done()
    assert (await collector.collect(tenant, NOW)).runs == 0
    held.go_on.set()
    await asyncio.gather(copying, deleting)
    assert (await collector.collect(tenant, NOW)).runs == 0
    assert await read(services.artifacts, tenant, it.path) == CONTENT


async def test_copies_within_a_model_while_versions_are_deleted(
    services: Services, tenant: Tenant
) -> None:
    """There is no deadlock between them."""
    await services.registered_models.create(tenant, "m")
    for _ in range(10):
        await services.model_versions.create(tenant, "m", "s3://bucket/a")
    results = await asyncio.gather(
        *(
            work
            for number in range(1, 11)
            for work in (
                services.model_versions.create(tenant, "m", f"models:/m/{number}"),
                services.model_versions.delete(tenant, "m", str(number)),
            )
        ),
        return_exceptions=True,
    )
    refused = [one for one in results if isinstance(one, BaseException)]
    assert all(isinstance(one, NotFoundError) for one in refused), refused


@pytest.mark.usefixtures("champion")
@pytest.mark.parametrize("make", KINDS)
async def test_a_version_that_comes_second(
    services: Services,
    database: Database,
    tenant: Tenant,
    collector: GarbageCollector,
    monkeypatch: pytest.MonkeyPatch,
    make: Make,
) -> None:
    """Garbage collection has started its transaction and not committed it."""
    it = await make(services, tenant)
    held = Held(trail.record)
    monkeypatch.setattr(trail, "record", held)
    collecting = asyncio.ensure_future(collector.collect(tenant, NOW))
    await asyncio.wait_for(held.reached.wait(), 30)
    registering = asyncio.ensure_future(it.register())
    await waits_or_ends(database, tenant, registering)
    held.go_on.set()
    report = await collecting
    assert report.files.count == 1
    if it.exists_after:
        await registering
    else:
        with pytest.raises((InvalidValueError, NotFoundError)):
            await registering


@pytest.mark.usefixtures("champion")
@pytest.mark.parametrize("make", [of_a_run_of_an_experiment, of_a_model_of_an_experiment])
async def test_a_version_of_what_is_being_removed(
    services: Services, tenant: Tenant, collector: GarbageCollector, make: Make
) -> None:
    """Garbage collection was killed after it had marked the rows; they must not come back."""
    it = await make(services, tenant)
    with pytest.MonkeyPatch.context() as patch:
        # The first statement of what removes runs, or models.
        patch.setattr(sql, "LOCK_FOLDERS", "SELECT 1 / 0")
        with pytest.raises(psycopg.errors.DivisionByZero):
            await collector.collect(tenant, NOW)
    with pytest.raises(TrackingError):
        await it.register()
    assert (await collector.collect(tenant, NOW)).experiments == 1


@pytest.mark.usefixtures("champion")
@pytest.mark.parametrize("scheme", ["runs", "mlflow-artifacts"])
async def test_an_id_that_is_written_in_another_way(
    services: Services, tenant: Tenant, scheme: str
) -> None:
    """Garbage collection would not find the id in the version's storage location."""
    run = await new_run(services, tenant)
    encoded = f"%{ord(run.run_id.hex[0]):x}{run.run_id.hex[1:]}"
    source = {
        "runs": f"runs:/{encoded}/model",
        "mlflow-artifacts": f"{run.artifact_uri}/model".replace(run.run_id.hex, encoded),
    }[scheme]
    with pytest.raises(InvalidValueError):
        await services.model_versions.create(tenant, "champion", source, run_id=run.run_id.hex)


@pytest.fixture
async def others(services: Services, database: Database) -> AsyncIterator[GarbageCollector]:
    """A garbage collector with a connection pool of its own, as the command has."""
    assert services.settings.database_url
    own = Database(services.settings.database_url, pool_size=2)
    yield GarbageCollector(own, services.artifacts.store)
    await own.close()


@pytest.mark.usefixtures("champion")
async def test_many_at_once(
    services: Services, tenant: Tenant, others: GarbageCollector, collector: GarbageCollector
) -> None:
    """Every registered version has its files; only registrations that come too late fail."""
    registered: list[str] = []
    refused = 0

    async def register(worker: int) -> None:
        nonlocal refused
        for number in range(30):
            kind = of_a_runs_uri if number % 5 == 4 else of_a_run
            it = await kind(services, tenant)
            # Some before they are found, some while they are removed.
            await asyncio.sleep(0.002 * ((worker + number) % 10))
            try:
                await it.register()
            except (InvalidValueError, NotFoundError):
                refused += 1
            else:
                if not it.exists_after:
                    registered.append(it.path)

    async def collect(it: GarbageCollector) -> None:
        while not done.is_set():
            await it.collect(tenant, NOW)

    done = asyncio.Event()
    collecting = [asyncio.ensure_future(collect(one)) for one in (others, collector)]
    try:
        await asyncio.gather(*(register(worker) for worker in range(6)))
    finally:
        done.set()
    await asyncio.gather(*collecting)
    artifacts: Artifacts = services.artifacts
    for path in registered:
        assert await read(artifacts, tenant, path) == CONTENT
    print(f"versions registered: {len(registered)}, refused: {refused}, lost: 0")
    assert registered


@pytest.mark.usefixtures("champion")
async def test_points_and_links_of_a_model_that_goes(
    services: Services, tenant: Tenant, collector: GarbageCollector
) -> None:
    """Writes commit before the deletion or are refused, but never by an error of the database."""
    run = await new_run(services, tenant)

    async def log(model_id: str) -> None:
        await asyncio.sleep(0)
        await services.inputs.log_inputs(tenant, run.run_id.hex, models=[model_id])

    for number in range(5):
        experiment = str(await services.experiments.create(tenant, f"e{number}"))
        models = [await services.models.create(tenant, experiment) for _ in range(6)]
        await services.experiments.delete(tenant, experiment)
        results = await asyncio.gather(
            collector.collect(tenant, NOW),
            *(log(model.model_id) for model in models for _ in range(3)),
            return_exceptions=True,
        )
        failures = [one for one in results if isinstance(one, BaseException)]
        assert all(isinstance(one, NotFoundError) for one in failures), failures
