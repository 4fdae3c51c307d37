"""Garbage collection where the store and the index disagree, on both stores."""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.artifacts.object_keys import object_key
from app.artifacts.service import Artifacts
from app.artifacts.stores.contract import ArtifactStore
from app.artifacts.stores.local import LocalStore
from app.artifacts.stores.s3 import S3Store
from app.db.database import Database
from app.gc.service import GarbageCollector, Policy
from app.kernel.errors import InvalidStateError
from app.kernel.tenant import Tenant
from app.services import Services
from tests.integration.artifacts.indexed import (
    chunks,
    folder_of,
    listed,
    objects,
    put,
    read,
    rows,
    used_bytes,
)
from tests.support.s3_server import S3Server, s3_server

HOUR = 3_600_000
# What was written just now counts as old.
DELETE = Policy(delete=True, grace=-HOUR)
COUNT_ONLY = Policy(grace=-HOUR)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(params=["local", "s3"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ArtifactStore]:
    if request.param == "local":
        it: ArtifactStore = LocalStore(tmp_path / "artifacts")
    else:
        s3 = request.getfixturevalue("s3")
        prefix = f"t{secrets.token_hex(5)}-"
        it = S3Store(s3.endpoint, s3.access_key, s3.secret_key, bucket_prefix=prefix)
    yield it
    await it.close()


@pytest.fixture
def artifacts(database: Database, store: ArtifactStore) -> Artifacts:
    return Artifacts(database, store)


@pytest.fixture
def collector(database: Database, store: ArtifactStore) -> GarbageCollector:
    return GarbageCollector(database, store)


@pytest.fixture
async def folder(services: Services, tenant: Tenant) -> str:
    return await folder_of(services, tenant)


async def put_object(store: ArtifactStore, tenant: Tenant, key: str, content: bytes = b"x") -> None:
    await store.put(
        tenant.slug,
        key,
        chunks(content),
        content_length=len(content),
        content_type="text/plain",
    )


class TestOrphans:
    async def test_object_without_a_row(
        self,
        artifacts: Artifacts,
        store: ArtifactStore,
        tenant: Tenant,
        folder: str,
        collector: GarbageCollector,
    ) -> None:
        await put(artifacts, tenant, f"{folder}/kept", b"kept")
        orphans = [
            object_key(f"{folder}/kept", uuid4()),
            object_key(f"{folder}/a/b", uuid4()),
            f"{folder}/older",
            "something/else",
        ]
        for key in orphans:
            await put_object(store, tenant, key, b"12345")
        for policy in (COUNT_ONLY, DELETE):
            report = await collector.collect(tenant, policy)
            assert (report.orphans.count, report.orphans.bytes) == (4, 20)
        assert (await collector.collect(tenant, COUNT_ONLY)).clean
        assert await read(artifacts, tenant, f"{folder}/kept") == b"kept"
        assert len(await objects(store, tenant)) == 1

    async def test_what_may_not_be_done_yet(
        self, store: ArtifactStore, tenant: Tenant, folder: str, collector: GarbageCollector
    ) -> None:
        await put_object(store, tenant, object_key(f"{folder}/a", uuid4()))
        report = await collector.collect(tenant, Policy(delete=True, grace=HOUR))
        assert report.clean
        assert len(await objects(store, tenant)) == 1

    async def test_object_of_an_older_version(
        self,
        artifacts: Artifacts,
        store: ArtifactStore,
        database: Database,
        tenant: Tenant,
        folder: str,
        collector: GarbageCollector,
    ) -> None:
        """The objects of files from before objects had ids have their paths as keys."""
        path = f"{folder}/a"
        await put_object(store, tenant, path, b"older")
        async with database.write_pipeline(tenant) as connection:
            await connection.execute_numbered(
                "INSERT INTO artifacts (tenant_id, path, size, etag, content_type, updated_time)"
                " VALUES ($1, $2, 5, 'e', 'text/plain', 0)",
                [tenant.id, path],
            )
        assert (await collector.collect(tenant, DELETE)).clean
        assert await read(artifacts, tenant, path) == b"older"
        await put(artifacts, tenant, path, b"newer")
        assert await read(artifacts, tenant, path) == b"newer"
        assert len(await objects(store, tenant)) == 1

    async def test_row_without_an_object(
        self,
        artifacts: Artifacts,
        store: ArtifactStore,
        tenant: Tenant,
        folder: str,
        collector: GarbageCollector,
    ) -> None:
        await put(artifacts, tenant, f"{folder}/kept", b"kept")
        lost = await put(artifacts, tenant, f"{folder}/lost", b"12345")
        await store.delete(tenant.slug, [lost.key])
        for policy in (COUNT_ONLY, DELETE):
            report = await collector.collect(tenant, policy)
            assert (report.lost.count, report.lost.bytes) == (1, 5)
        assert (await collector.collect(tenant, COUNT_ONLY)).clean
        assert await listed(artifacts, tenant, folder) == ["kept"]

    async def test_another_store(
        self,
        artifacts: Artifacts,
        store: ArtifactStore,
        tenant: Tenant,
        folder: str,
        collector: GarbageCollector,
    ) -> None:
        """A store without any of the files is taken for the wrong one."""
        for name in ("a", "b"):
            await store.delete(
                tenant.slug, [(await put(artifacts, tenant, f"{folder}/{name}")).key]
            )
        assert (await collector.collect(tenant, COUNT_ONLY)).lost.count == 2
        with pytest.raises(InvalidStateError, match="check the settings of the store"):
            await collector.collect(tenant, DELETE)
        assert await listed(artifacts, tenant, folder) == ["a", "b"]

    async def test_files_of_a_run_that_is_gone(
        self,
        artifacts: Artifacts,
        store: ArtifactStore,
        database: Database,
        tenant: Tenant,
        folder: str,
        services: Services,
        collector: GarbageCollector,
    ) -> None:
        other = await folder_of(services, tenant)
        for path in (f"{folder}/a", f"{folder}/b/c", f"{other}/a"):
            await put(artifacts, tenant, path)
        async with database.write_pipeline(tenant) as connection:
            await connection.execute_numbered(
                "DELETE FROM runs WHERE tenant_id = $1 AND run_id = $2",
                [tenant.id, UUID(hex=folder.split("/")[3])],
            )
        assert (await collector.collect(tenant, COUNT_ONLY)).files.count == 2
        assert (await collector.collect(tenant, DELETE)).files.count == 2
        assert await rows(database, tenant, "artifacts") == 1
        assert len(await objects(store, tenant)) == 1

    async def test_of_a_tenant_that_was_deleted(
        self,
        services: Services,
        artifacts: Artifacts,
        store: ArtifactStore,
        database: Database,
        tenant: Tenant,
        other_tenant: Tenant,
        folder: str,
        collector: GarbageCollector,
    ) -> None:
        for one in (tenant, other_tenant):
            await put(artifacts, one, f"{await folder_of(services, one)}/a")
        async with database.without_tenant() as connection:
            await connection.exec_driver_sql(f"SELECT delete_tenant('{tenant.slug}', true)")
        gone = await collector.tenant(tenant.slug)
        assert (await collector.collect(gone, DELETE)).orphans.count == 1
        assert await objects(store, tenant) == []
        assert len(await objects(store, other_tenant)) == 1


class TestUnfinishedUploads:
    async def test_removed(
        self, store: ArtifactStore, tenant: Tenant, folder: str, collector: GarbageCollector
    ) -> None:
        key = object_key(f"{folder}/a", uuid4())
        await store.create_upload(tenant.slug, key, content_type="text/plain")
        if isinstance(store, LocalStore):  # to moto, every upload began in 2010
            kept = await collector.collect(tenant, Policy(delete=True, grace=HOUR))
            assert kept.uploads == 0
        for policy in (COUNT_ONLY, DELETE):
            assert (await collector.collect(tenant, policy)).uploads == 1
        assert [found async for found in store.unfinished(tenant.slug)] == []
        assert (await collector.collect(tenant, COUNT_ONLY)).clean


NAMES = st.sampled_from(["a", "b", "a/x", "a/y", "a.b", "a0", "c/d/e", "c/d/f"])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["put", "put", "delete", "lose the row", "lose the object", "orphan", "gc"]
        ),
        NAMES,
    ),
    max_size=25,
)


class TestRandomOrphans:
    @given(steps=STEPS)
    @hypothesis_settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    async def test_ends_clean_and_loses_nothing(
        self,
        steps: list[tuple[str, str]],
        services: Services,
        artifacts: Artifacts,
        store: ArtifactStore,
        database: Database,
        tenant: Tenant,
        collector: GarbageCollector,
    ) -> None:
        folder = await folder_of(services, tenant)
        # A file that stays, so that the store is seen to be the right one.
        files = {"anchor": b"anchor"}
        await put(artifacts, tenant, f"{folder}/anchor", b"anchor")
        for number, (step, name) in enumerate(steps):
            path = f"{folder}/{name}"
            content = f"{number}".encode()
            clash = any(
                other.startswith(f"{name}/") or name.startswith(f"{other}/") for other in files
            )
            match step:
                case "put" if not clash:
                    await put(artifacts, tenant, path, content)
                    files[name] = content
                case "delete" if name in files:
                    await artifacts.delete(tenant, path)
                    del files[name]
                case "lose the row" if name in files:
                    async with database.write_pipeline(tenant) as connection:
                        await connection.execute_numbered(
                            "DELETE FROM artifacts WHERE tenant_id = $1 AND path = $2",
                            [tenant.id, path],
                        )
                    del files[name]
                case "lose the object" if name in files:
                    await store.delete(tenant.slug, [(await artifacts.get(tenant, path)).key])
                    await collector.collect(tenant, DELETE)
                    del files[name]
                case "orphan":
                    await put_object(store, tenant, object_key(path, uuid4()), content)
                case "gc":
                    await collector.collect(tenant, DELETE)
        await collector.collect(tenant, DELETE)
        assert (await collector.collect(tenant, COUNT_ONLY)).clean
        found = {
            artifact.path.removeprefix(f"{folder}/"): await read(artifacts, tenant, artifact.path)
            async for artifact in artifacts.walk(tenant, folder)
        }
        assert found == files
        mine = [key for key in await objects(store, tenant) if key.startswith(f"{folder}/")]
        assert len(mine) == len(files)
        await artifacts.delete(tenant, folder)
        assert await used_bytes(database, tenant) == 0
