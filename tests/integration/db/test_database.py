"""Transactions and pipelines: committed whole, or not at all."""

from collections.abc import AsyncIterator

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.db import database as database_module
from app.db.database import Database
from app.kernel.errors import UnavailableError
from app.kernel.tenant import Tenant
from tests.conftest import Postgres

INSERT = (
    "INSERT INTO experiment_tags (tenant_id, experiment_id, key, value)"
    " VALUES ({tenant}, 0, '{key}', 'x')"
)


KEYS = "SELECT key FROM experiment_tags"


async def keys(database: Database, tenant: Tenant) -> set[str]:
    async with database.write_pipeline(tenant) as connection:
        cursor = await connection.execute(KEYS)
    return {key for (key,) in await cursor.fetchall()}


class TestPipeline:
    async def test_commits(self, database: Database, tenant: Tenant) -> None:
        async with database.write_pipeline(tenant) as connection:
            for key in ("a", "b"):
                await connection.execute(INSERT.format(tenant=tenant.id, key=key))
        assert await keys(database, tenant) == {"a", "b"}

    @pytest.mark.parametrize("fetch", [True, False], ids=["after a fetch", "unfetched"])
    async def test_an_exception_undoes_everything(
        self, database: Database, tenant: Tenant, fetch: bool
    ) -> None:
        notices: list[str | None] = []

        async def fail() -> None:
            async with database.write_pipeline(tenant) as connection:
                connection.session.connection.add_notice_handler(
                    lambda notice: notices.append(notice.severity)
                )
                cursor = await connection.execute(
                    INSERT.format(tenant=tenant.id, key="a") + " RETURNING key"
                )
                if fetch:
                    assert await cursor.fetchall() == [("a",)]
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert await keys(database, tenant) == set()
        assert notices == []

    async def test_an_error_of_postgres_undoes_everything(
        self, database: Database, tenant: Tenant
    ) -> None:
        """Those before it, those after it, and also where nobody fetched the one that failed."""

        async def fail() -> None:
            async with database.write_pipeline(tenant) as connection:
                await connection.execute(INSERT.format(tenant=tenant.id, key="a"))
                await connection.execute("SELECT 1 / 0")
                await connection.execute(INSERT.format(tenant=tenant.id, key="b"))

        with pytest.raises(psycopg.errors.DivisionByZero):
            await fail()
        assert await keys(database, tenant) == set()

    @pytest.mark.parametrize("times", range(8))
    async def test_what_stands_behind_an_error_runs_the_next_time(
        self, postgres: Postgres, tenant: Tenant, times: int
    ) -> None:
        """Also where it was just then to be prepared, having run so many times before."""
        database = Database(postgres.app_url, pool_size=1)
        for _ in range(times):
            await keys(database, tenant)

        async def fail() -> None:
            async with database.write_pipeline(tenant) as connection:
                for statement in ("SELECT 1 / 0", KEYS, KEYS):
                    await connection.execute(statement)

        with pytest.raises(psycopg.errors.DivisionByZero):
            await fail()
        assert await keys(database, tenant) == set()
        await database.close()

    async def test_the_tenant_does_not_stay_on_the_connection(
        self, database: Database, tenant: Tenant
    ) -> None:
        await keys(database, tenant)
        for _ in range(3):
            async with database.without_tenant() as connection:
                left = await connection.scalar(
                    text("SELECT current_setting('app.tenant_id', true)")
                )
                assert left in (None, "")

    async def test_both_ways_alternate_on_a_connection(
        self, database: Database, tenant: Tenant
    ) -> None:
        """One needs autocommit and the other must not have it."""

        async def fail(key: str) -> None:
            async with database.write(tenant) as connection:
                await connection.execute(text(INSERT.format(tenant=tenant.id, key=key)))
                raise ZeroDivisionError

        for number in range(4):
            with pytest.raises(ZeroDivisionError):
                await fail(f"undone{number}")
            async with database.write_pipeline(tenant) as raw:
                await raw.execute(INSERT.format(tenant=tenant.id, key=f"kept{number}"))
        assert await keys(database, tenant) == {f"kept{number}" for number in range(4)}


class TestReadOnly:
    @pytest.mark.parametrize("snapshot", [False, True])
    async def test_a_pipeline_that_only_reads_cannot_write(
        self, database: Database, tenant: Tenant, snapshot: bool
    ) -> None:
        for _ in range(3):
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                async with database.read_pipeline(tenant, snapshot=snapshot) as connection:
                    await connection.execute(INSERT.format(tenant=tenant.id, key="a"))
        assert await keys(database, tenant) == set()

    async def test_a_transaction_that_only_reads_cannot_write(
        self, database: Database, tenant: Tenant
    ) -> None:
        with pytest.raises(DBAPIError, match="read-only transaction"):
            async with database.read(tenant) as connection:
                await connection.execute(text(INSERT.format(tenant=tenant.id, key="a")))

    async def test_it_does_not_stay_on_the_connection(
        self, postgres: Postgres, tenant: Tenant
    ) -> None:
        database = Database(postgres.app_url, pool_size=1)
        for number in range(3):
            async with database.read(tenant) as connection:
                await connection.execute(text("SELECT 1"))
            async with database.read_pipeline(tenant):
                pass
            async with database.write_pipeline(tenant) as raw:
                await raw.execute(INSERT.format(tenant=tenant.id, key=f"a{number}"))
            async with database.write(tenant) as connection:
                await connection.execute(text(INSERT.format(tenant=tenant.id, key=f"b{number}")))
        assert len(await keys(database, tenant)) == 6
        await database.close()


class TestLimits:
    @pytest.fixture
    async def hasty(
        self, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[Database]:
        """One connection, whose statements may take a tenth of a second, as may waiting for it."""
        monkeypatch.setattr(database_module, "WAIT_SECONDS", 0.1)
        database = Database(postgres.app_url, pool_size=1, statement_timeout=0.1)
        yield database
        await database.close()

    async def test_a_long_statement_is_ended(self, hasty: Database, tenant: Tenant) -> None:
        """In both ways; the connection serves on, as does its limit."""
        for _ in range(2):
            with pytest.raises(UnavailableError, match="too long"):
                async with hasty.write_pipeline(tenant) as connection:
                    await (await connection.execute("SELECT pg_sleep(5)")).fetchall()
            with pytest.raises(UnavailableError, match="too long"):
                async with hasty.write(tenant) as other:
                    await other.execute(text("SELECT pg_sleep(5)"))
        assert await keys(hasty, tenant) == set()

    async def test_who_finds_no_connection_is_told_to_come_back(
        self, hasty: Database, tenant: Tenant
    ) -> None:
        async with hasty.write_pipeline(tenant):
            with pytest.raises(UnavailableError, match="connections are busy"):
                await keys(hasty, tenant)
        assert await keys(hasty, tenant) == set()
