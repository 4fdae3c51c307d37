"""The artifact index: the cost of listings, refused paths, and the used bytes."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import pytest

from app.artifacts import sql
from app.artifacts.artifact_owner import owner_of
from app.artifacts.service import Artifacts
from app.db.database import Database
from app.gc import sql as gc_sql
from app.kernel.errors import ConflictError, NotFoundError, RunNotActiveError, RunNotFoundError
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
    run_path,
    used_bytes,
)

MANY = 20_000

Fill = Callable[[str], Awaitable[None]]


@pytest.fixture
def artifacts(services: Services) -> Artifacts:
    return services.artifacts


@pytest.fixture
async def folder(services: Services, tenant: Tenant) -> str:
    return await folder_of(services, tenant)


@pytest.fixture
async def fill(database: Database, tenant: Tenant) -> AsyncIterator[Fill]:
    """Inserts rows of many files; its argument is an SQL expression of the number `i`. The rows
    have no objects and are deleted afterwards: gc in another test would look for each of them."""

    async def insert(paths: str) -> None:
        async with database.write_pipeline(tenant) as connection:
            await connection.execute(
                "INSERT INTO artifacts (tenant_id, path, size, etag, content_type, updated_time)"
                f" SELECT {tenant.id}, {paths}, 10, 'e', 'text/plain', 1"
                f" FROM generate_series(1, {MANY}) AS i"
            )

    yield insert
    async with database.write_pipeline(tenant) as connection:
        await connection.execute_numbered("DELETE FROM artifacts WHERE tenant_id = $1", [tenant.id])


class TestCost:
    """It does not depend on the files and folders beside those that are asked for, on no Postgres
    that is supported."""

    @pytest.mark.parametrize("name", ["lpad(i::text, 6, '0')", "lpad(i::text, 6, '0') || '/only'"])
    async def test_a_listing_costs_a_probe_an_entry(
        self, database: Database, tenant: Tenant, folder: str, fill: Fill, name: str
    ) -> None:
        await fill(f"'{folder}/many/' || {name}")
        many = f"{folder}/many"
        for after in (f"{many}/", f"{many}/010000", f"{many}/019000"):
            values = {"folder": many, "start": len(many) + 2, "after": after, "limit": 101}
            rows, blocks = await explained(database, tenant, sql.LIST, **values)
            assert rows == 101
            assert blocks < 101 * 10

    async def test_of_files_below_folders(
        self, database: Database, tenant: Tenant, folder: str, fill: Fill
    ) -> None:
        await fill(f"'{folder}/many/' || lpad(i::text, 6, '0')")
        many, absent = f"{folder}/many", f"{folder}/absent"
        for statement, values in (
            (sql.GET, {"path": f"{many}/000001"}),
            (sql.WALK, {"folder": many, "after": f"{many}/", "limit": 20}),
            (sql.FIRST_FILES, {"folders": [many, absent], "limit": 20}),
            (sql.SIZES, {"folders": [absent, f"{many}/000001"], "most": 10}),
            (sql.DELETE_FILES, {"paths": [absent, f"{many}/000001"], "limit": 10}),
            (
                sql.SHOWN_AT,
                {
                    "shown": f"{absent}/{'x' * 60}",
                    "names": [absent, f"{absent}0"],
                    "start": len(folder) + 1,
                    "limit": 200,
                },
            ),
        ):
            _, blocks = await explained(database, tenant, statement, **values)
            assert blocks < 400, statement

    async def test_of_an_upload(
        self, database: Database, tenant: Tenant, folder: str, fill: Fill
    ) -> None:
        await fill(f"'{folder}/many/' || lpad(i::text, 6, '0')")
        owner = owner_of(f"{folder}/new/file.txt")
        assert isinstance(owner.id, UUID)
        file = {
            "owner": owner.id.hex,
            "experiment": owner.experiment_id,
            "path": f"{folder}/new/file.txt",
            "parents": owner.parents,
            "size": 1,
            "etag": "e",
            "content_type": "text/plain",
            "updated_time": 1,
        }
        for statement, values in (
            (sql.UPSERT_FILES["run"], {"files": json.dumps([file])}),
            (sql.UPSERT_RESERVED_FILES["run"], {"files": json.dumps([file])}),
            (sql.CHECK_PATH["run"], file),
        ):
            _, blocks = await explained(database, tenant, statement, **values)
            assert blocks < 100, statement

    async def test_of_garbage_collection(
        self, database: Database, services: Services, tenant: Tenant, folder: str, fill: Fill
    ) -> None:
        await fill(f"'{folder}/many/' || lpad(i::text, 6, '0')")
        for _ in range(3):
            await put(services.artifacts, tenant, f"{await folder_of(services, tenant)}/a")
        rows, blocks = await explained(database, tenant, gc_sql.OWNERS, after="", limit=10)
        assert rows == 4
        assert blocks < 100


async def explained(
    database: Database, tenant: Tenant, statement: str, **values: object
) -> tuple[int, int]:
    """The rows of a statement, and the blocks that it reads."""
    async with database.write_pipeline(tenant) as connection:
        cursor = await connection.execute(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", {"tenant": tenant.id} | values
        )
        row = await cursor.fetchone()
    assert row is not None
    (found,) = row[0] if isinstance(row[0], list) else json.loads(row[0])
    plan = found["Plan"]
    return int(plan["Actual Rows"]), plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


class TestListing:
    async def test_pages_are_in_order_and_whole(
        self, artifacts: Artifacts, database: Database, tenant: Tenant, folder: str
    ) -> None:
        names = ["a", "a.txt", "a0", "b/x", "b/y", "b.txt", "c/d/e", "z"]
        for name in names:
            await put(artifacts, tenant, f"{folder}/{name}")
        expected = ["a", "a.txt", "a0", "b.txt", "b/", "c/", "z"]
        for page in range(1, 9):
            assert await listed(artifacts, tenant, folder, page) == expected

    async def test_has_checksums(self, artifacts: Artifacts, tenant: Tenant, folder: str) -> None:
        stored = await put(artifacts, tenant, f"{folder}/a", b"content")
        digest = hashlib.sha256(b"content").hexdigest()
        assert stored.sha256 == digest
        assert (await artifacts.get(tenant, f"{folder}/a")).sha256 == digest
        entries, _ = await artifacts.list(tenant, folder)
        assert [entry.sha256 for entry in entries] == [digest]


class TestClashes:
    @pytest.mark.parametrize(
        ("first", "second", "words"),
        [
            ("a", "a/b", "leads through a file"),
            ("a", "a/b/c", "leads through a file"),
            ("a/b/c", "a", "is a folder"),
            ("a/b/c", "a/b", "is a folder"),
        ],
    )
    async def test_refused(
        self, artifacts: Artifacts, tenant: Tenant, folder: str, first: str, second: str, words: str
    ) -> None:
        await put(artifacts, tenant, f"{folder}/{first}")
        with pytest.raises(ConflictError, match=words):
            await put(artifacts, tenant, f"{folder}/{second}")

    async def test_at_the_same_moment(
        self, artifacts: Artifacts, database: Database, tenant: Tenant, folder: str
    ) -> None:
        """Both pass the check before the upload; the row of one is written."""
        for number in range(20):
            paths = [f"{folder}/{number}{rest}" for rest in ("", "/b", "/b/c", "/d", "/b")]
            ready = asyncio.Barrier(len(paths))

            async def body(ready: asyncio.Barrier = ready) -> AsyncIterator[bytes]:
                await ready.wait()
                yield b"x"

            await asyncio.gather(
                *(
                    artifacts.put(tenant, path, body(), content_length=1, content_type="a/b")
                    for path in paths
                ),
                return_exceptions=True,
            )
        found = [artifact.path async for artifact in artifacts.walk(tenant, folder)]
        assert len(found) >= 20
        for path in found:
            assert not any(other.startswith(f"{path}/") for other in found)


class TestManyAtOnce:
    async def test_each_is_answered_for_itself(
        self, services: Services, artifacts: Artifacts, tenant: Tenant, folder: str
    ) -> None:
        """Concurrent files share a transaction, but each gets its own error; refused files leave no
        object."""
        deleted = await services.runs.create(tenant, "0")
        await services.runs.delete(tenant, deleted.run_id.hex)
        await put(artifacts, tenant, f"{folder}/file")
        good = [f"{folder}/{number}/a" for number in range(10)]
        bad = {
            run_path(deleted, "a"): RunNotActiveError,
            f"{folder}/file/b": ConflictError,
            f"{folder.rsplit('/', 2)[0]}/{'0' * 32}/artifacts/a": RunNotFoundError,
        }
        paths = [*good[:5], *bad, *good[5:]]
        answers = await asyncio.gather(
            *(put(artifacts, tenant, path) for path in paths), return_exceptions=True
        )
        refused = {
            path: answer
            for path, answer in zip(paths, answers, strict=True)
            if isinstance(answer, BaseException)
        }
        assert refused.keys() == bad.keys()
        assert all(isinstance(answer, bad[path]) for path, answer in refused.items()), refused
        stored = [artifact async for artifact in artifacts.walk(tenant, folder)]
        assert {artifact.path for artifact in stored} == {*good, f"{folder}/file"}
        kept = sorted(artifact.key for artifact in stored)
        assert sorted(await objects(artifacts.store, tenant)) == kept


class TestTwoAtOnce:
    async def test_writers_to_one_path(
        self, artifacts: Artifacts, database: Database, tenant: Tenant, folder: str
    ) -> None:
        """The row always matches its object, and no other object is left."""
        path = f"{folder}/a"
        for _ in range(5):
            contents = [f"{number}".encode() * 100 for number in range(8)]
            await asyncio.gather(*(put(artifacts, tenant, path, one) for one in contents))
            artifact = await artifacts.get(tenant, path)
            content = await read(artifacts, tenant, path)
            assert content in contents
            assert artifact.sha256 == hashlib.sha256(content).hexdigest()
            assert (await objects(artifacts.store, tenant)) == [artifact.key]
        assert await used_bytes(database, tenant) == len(content)

    async def test_delete_beside_an_upload(
        self, artifacts: Artifacts, tenant: Tenant, folder: str
    ) -> None:
        """A deletion deletes the objects of the rows that it read, not those of later uploads."""
        path = f"{folder}/a"
        for _ in range(20):
            await put(artifacts, tenant, path, b"old")
            _, uploaded = await asyncio.gather(
                artifacts.delete(tenant, path), put(artifacts, tenant, path, b"new")
            )
            try:
                assert (await artifacts.get(tenant, path)).object_id == uploaded.object_id
                assert await read(artifacts, tenant, path) == b"new"
            except NotFoundError:
                assert await objects(artifacts.store, tenant) == []

    async def test_read_of_what_is_replaced(
        self, artifacts: Artifacts, tenant: Tenant, folder: str
    ) -> None:
        path = f"{folder}/a"
        old = await put(artifacts, tenant, path, b"old")
        await put(artifacts, tenant, path, b"newer")
        async with await artifacts.open(tenant, old) as reader:
            assert b"".join([chunk async for chunk in reader]) == b"newer"
        await artifacts.delete(tenant, path)
        with pytest.raises(NotFoundError):
            await artifacts.open(tenant, old)


class TestCopy:
    async def test_within_a_tenant(
        self, services: Services, artifacts: Artifacts, tenant: Tenant, folder: str
    ) -> None:
        other = await folder_of(services, tenant)
        source = await put(artifacts, tenant, f"{folder}/a", b"content")
        copied = await artifacts.copy(tenant, source, f"{other}/b/c")
        assert (copied.size, copied.sha256) == (source.size, source.sha256)
        assert copied.content_type == source.content_type
        await artifacts.delete(tenant, f"{folder}/a")
        assert await read(artifacts, tenant, f"{other}/b/c") == b"content"

    async def test_onto_itself(self, artifacts: Artifacts, tenant: Tenant, folder: str) -> None:
        source = await put(artifacts, tenant, f"{folder}/a", b"content")
        await artifacts.copy(tenant, source, f"{folder}/a")
        assert await read(artifacts, tenant, f"{folder}/a") == b"content"
        assert len(await objects(artifacts.store, tenant)) == 1

    async def test_of_what_is_gone(self, artifacts: Artifacts, tenant: Tenant, folder: str) -> None:
        source = await put(artifacts, tenant, f"{folder}/a")
        await artifacts.delete(tenant, f"{folder}/a")
        with pytest.raises(NotFoundError):
            await artifacts.copy(tenant, source, f"{folder}/b")

    async def test_to_a_deleted_run(
        self, services: Services, artifacts: Artifacts, tenant: Tenant, folder: str
    ) -> None:
        run = await services.runs.create(tenant, "0")
        await services.runs.delete(tenant, run.run_id.hex)
        source = await put(artifacts, tenant, f"{folder}/a")
        with pytest.raises(RunNotActiveError):
            await artifacts.copy(tenant, source, run_path(run, "a"))


class TestUsedBytes:
    async def test_counts_each_file_once(
        self, artifacts: Artifacts, database: Database, tenant: Tenant, folder: str
    ) -> None:
        assert await used_bytes(database, tenant) == 0
        await put(artifacts, tenant, f"{folder}/a", b"12345")
        await put(artifacts, tenant, f"{folder}/b/c", b"123")
        await put(artifacts, tenant, f"{folder}/a", b"1234567")
        assert await used_bytes(database, tenant) == 10
        await artifacts.delete(tenant, f"{folder}/b")
        assert await used_bytes(database, tenant) == 7
        await artifacts.delete(tenant, f"{folder}/a")
        assert await used_bytes(database, tenant) == 0

    async def test_by_many_at_once(
        self,
        artifacts: Artifacts,
        database: Database,
        tenant: Tenant,
        other_tenant: Tenant,
        folder: str,
    ) -> None:
        await asyncio.gather(
            *(put(artifacts, tenant, f"{folder}/{n % 10}", b"x" * n) for n in range(60))
        )
        total = sum([artifact.size async for artifact in artifacts.walk(tenant, folder)])
        assert await used_bytes(database, tenant) == total
        assert await used_bytes(database, other_tenant) == 0

    async def test_reads_a_few_rows(
        self, database: Database, tenant: Tenant, folder: str, fill: Fill
    ) -> None:
        await fill(f"'{folder}/' || i")
        assert await used_bytes(database, tenant) == 10 * MANY
        assert await rows(database, tenant, "artifact_usage") <= 16

    async def test_does_not_keep_a_tenant_from_being_deleted(
        self, services: Services, artifacts: Artifacts, tenant: Tenant, folder: str
    ) -> None:
        """A tenant with a usage counter, even of 0, counts as empty."""
        await put(artifacts, tenant, f"{folder}/a")
        await artifacts.delete(tenant, f"{folder}/a")
        async with services.database.write_pipeline(tenant) as connection:
            await connection.execute_numbered("DELETE FROM runs WHERE tenant_id = $1", [tenant.id])
        await services.tenants.delete(tenant.slug, "RESTRICT")
        with pytest.raises(NotFoundError):
            await services.tenants.get(tenant.slug)


class TestSizes:
    async def test_of_folders(self, artifacts: Artifacts, tenant: Tenant, folder: str) -> None:
        for name, size in (("a/x", 1), ("a/b/y", 2), ("a.txt", 4), ("c", 8)):
            await put(artifacts, tenant, f"{folder}/{name}", b"x" * size)
        folders = [f"{folder}/a", folder, f"{folder}/none"]
        assert await artifacts.sizes(tenant, folders) == [3, 15, 0]

    async def test_of_too_many_files(
        self, artifacts: Artifacts, tenant: Tenant, folder: str, fill: Fill
    ) -> None:
        await fill(f"'{folder}/many/' || i")
        await put(artifacts, tenant, f"{folder}/few/a", b"123")
        folders = [f"{folder}/many", f"{folder}/few"]
        assert await artifacts.sizes(tenant, folders) == [None, 3]


async def test_nothing_of_another_tenants(
    artifacts: Artifacts, tenant: Tenant, other_tenant: Tenant, folder: str
) -> None:
    source = await put(artifacts, tenant, f"{folder}/a")
    assert (await artifacts.list(other_tenant, folder)) == ([], None)
    assert await artifacts.sizes(other_tenant, [folder]) == [0]
    with pytest.raises(NotFoundError):
        await artifacts.get(other_tenant, f"{folder}/a")
    with pytest.raises(NotFoundError):
        await artifacts.put(
            other_tenant, f"{folder}/b", chunks(b"x"), content_length=1, content_type="a/b"
        )
    with pytest.raises(NotFoundError):
        await artifacts.copy(other_tenant, source, f"{folder}/b")
