"""The pipeline: what becomes of statements, of their connection, and of what was prepared on it."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
import pytest_asyncio

from app.db.database import Database
from app.db.pipeline import MAX_PREPARED, MAX_PREPARED_BYTES, PREPARED_AT
from app.kernel.errors import UnavailableError
from app.kernel.tenant import Tenant
from tests.conftest import Postgres

BACKEND = "SELECT pg_backend_pid()"


@pytest_asyncio.fixture
async def single(postgres: Postgres) -> AsyncIterator[Database]:
    """One connection."""
    database = Database(postgres.app_url, pool_size=1)
    yield database
    await database.close()


async def backend(database: Database, tenant: Tenant) -> int:
    async with database.read_pipeline(tenant) as connection:
        row = await (await connection.execute(BACKEND)).fetchone()
    assert row is not None
    return int(row[0])


class TestResults:
    async def test_each_statement_has_its_own(self, single: Database, tenant: Tenant) -> None:
        """Fetched in any order, while the pipeline runs or after it; prepared or not yet."""
        for _ in range(PREPARED_AT + 1):
            async with single.read_pipeline(tenant) as connection:
                numbers = [
                    await connection.execute("SELECT %(n)s::integer", {"n": n}) for n in range(9)
                ]
                series = await connection.execute(
                    "SELECT i FROM generate_series(1, %(n)s) i", {"n": 3}
                )
                assert await numbers[5].fetchall() == [(5,)]
                assert await series.fetchone() == (1,)
                late = await connection.execute("SELECT 'late'")
            assert await late.fetchone() == ("late",)
            assert await late.fetchone() is None
            assert await series.fetchall() == [(2,), (3,)]
            assert [await number.fetchall() for number in numbers[:5]] == [[(n,)] for n in range(5)]

    async def test_a_value_may_stand_in_several_places(
        self, single: Database, tenant: Tenant
    ) -> None:
        async with single.read_pipeline(tenant) as connection:
            found = await connection.execute(
                "SELECT %(a)s::text || %(b)s || %(a)s, 5 %% 3, 'x' LIKE '%%'",
                {"a": "%(b)s", "b": "$1"},
            )
        assert await found.fetchall() == [("%(b)s$1%(b)s", 2, True)]

    async def test_none_of_a_failed_pipeline_is_taken_for_empty(
        self, single: Database, tenant: Tenant
    ) -> None:
        """That which failed, those behind it, and as often as they are asked for."""
        found = []

        async def fail() -> None:
            async with single.read_pipeline(tenant) as connection:
                for statement in ("SELECT 1 / 0", "SELECT 'behind it'"):
                    found.append(await connection.execute(statement))
                for cursor in [*found, *found]:
                    with pytest.raises(psycopg.errors.DivisionByZero):
                        await cursor.fetchall()

        with pytest.raises(psycopg.errors.DivisionByZero):
            await fail()
        for cursor in found:
            with pytest.raises(psycopg.errors.DivisionByZero):
                await cursor.fetchall()

    async def test_numbers_in_binary(self, single: Database, tenant: Tenant) -> None:
        async with single.read_pipeline(tenant) as connection:
            found = await connection.execute(
                "SELECT ARRAY[1, %(n)s]::bigint[], ARRAY['NaN', 0.1]::float8[]",
                {"n": 2**62},
                binary=True,
            )
        ((integers, floats),) = await found.fetchall()
        assert (integers, str(floats)) == ([1, 2**62], "[nan, 0.1]")

    async def test_large_ones_both_ways(self, single: Database, tenant: Tenant) -> None:
        """Neither side waits for the other to read first."""
        large = "x" * (8 << 20)
        async with asyncio.timeout(60), single.read_pipeline(tenant) as connection:
            found = [
                await connection.execute("SELECT %(large)s::text", {"large": large})
                for _ in range(4)
            ]
            assert [await one.fetchall() == [(large,)] for one in found] == [True] * 4


class TestConnection:
    async def test_serves_on_after_an_error(self, single: Database, tenant: Tenant) -> None:
        before = await backend(single, tenant)

        async def fail() -> None:
            async with single.write_pipeline(tenant) as connection:
                await connection.execute("SELECT 1 / 0")
                await connection.execute("SELECT 'behind it'")

        for _ in range(PREPARED_AT + 1):
            with pytest.raises(psycopg.errors.DivisionByZero):
                await fail()
        async with single.write_pipeline(tenant) as connection:
            behind = await connection.execute("SELECT 'behind it'")
        assert await behind.fetchall() == [("behind it",)]
        assert await backend(single, tenant) == before

    async def test_serves_on_after_a_rollback_elsewhere(
        self, single: Database, tenant: Tenant
    ) -> None:
        async def fail() -> None:
            async with single.write(tenant) as connection:
                await connection.exec_driver_sql("SELECT 1")
                raise ZeroDivisionError

        for _ in range(PREPARED_AT + 1):
            await backend(single, tenant)
            with pytest.raises(ZeroDivisionError):
                await fail()

    async def test_gives_up_what_nobody_waits_for(self, single: Database, tenant: Tenant) -> None:
        before = await backend(single, tenant)

        async def sleep() -> None:
            async with single.read_pipeline(tenant) as connection:
                await (await connection.execute("SELECT pg_sleep(60)")).fetchall()

        for _ in range(2):
            sleeping = asyncio.create_task(sleep())
            await asyncio.sleep(0.1)
            sleeping.cancel()
            async with asyncio.timeout(20):
                with pytest.raises(asyncio.CancelledError):
                    await sleeping
                assert await backend(single, tenant) == before

    async def test_is_replaced_when_it_is_lost(
        self, single: Database, tenant: Tenant, postgres: Postgres
    ) -> None:
        async def lose() -> None:
            async with single.write_pipeline(tenant) as connection:
                row = await (await connection.execute(BACKEND)).fetchone()
                with psycopg.connect(postgres.app_url, autocommit=True) as other:
                    other.execute("SELECT pg_terminate_backend(%s)", row)
                await (await connection.execute("SELECT pg_sleep(60)")).fetchall()

        with pytest.raises(UnavailableError):
            await lose()
        assert await backend(single, tenant)

    async def test_keeps_a_bounded_number_of_statements(
        self, single: Database, tenant: Tenant
    ) -> None:
        async with single.read_pipeline(tenant) as connection:
            for number in range(MAX_PREPARED + 50):
                for _ in range(PREPARED_AT):
                    await connection.execute(f"SELECT {number}")
        async with single.read_pipeline(tenant) as connection:
            first = await connection.execute("SELECT 0")
            row = await (
                await connection.execute("SELECT count(*) FROM pg_prepared_statements")
            ).fetchone()
        assert await first.fetchall() == [(0,)]
        assert row == (MAX_PREPARED,)

    async def test_counts_no_long_statements(self, single: Database, tenant: Tenant) -> None:
        """They are as long as a tenant makes its filters, and would be kept for each connection."""
        long = f"SELECT 'long', {' + '.join('1' for _ in range(MAX_PREPARED_BYTES // 4))}"
        for _ in range(PREPARED_AT + 1):
            async with single.read_pipeline(tenant) as connection:
                found = await connection.execute_numbered(long, [])
            assert (await found.fetchone() or ())[0] == "long"
        async with single.read_pipeline(tenant) as connection:
            prepared = await connection.execute(
                "SELECT count(*) FROM pg_prepared_statements"
                " WHERE statement LIKE 'SELECT ''long''%%'"
            )
        assert await prepared.fetchall() == [(0,)]

    async def test_that_is_left_in_a_transaction_is_replaced(
        self, single: Database, tenant: Tenant
    ) -> None:
        """Its next transactions would be a part of that one, and never be committed."""
        before = await backend(single, tenant)
        async with single.read_pipeline(tenant) as connection:
            left = connection.session.connection
        await left.execute("SELECT 1")
        assert await backend(single, tenant) != before
