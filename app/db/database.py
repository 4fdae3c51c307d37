"""Database: the pool of connections to Postgres, and transactions, each of one tenant.

- `read` and `write` give a SQLAlchemy connection, for statements that SQLAlchemy builds.
- `read_pipeline` and `write_pipeline` give psycopg's connection in pipeline mode, for hot paths:
  their statements are SQL texts, which are sent to Postgres together.

Reads are for data that is shown. Postgres refuses changes in them, and they give way to writes when
connections are scarce. A read that decides on a write belongs to the transaction of that write.
`app.db.connection_shares` keeps one tenant from using up the pool.
"""

import logging
import select
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import event, exc, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from app.db import migrate
from app.db.connection_shares import ConnectionShares
from app.db.url import sqlalchemy_url
from app.kernel.errors import NotFoundError, UnavailableError
from app.kernel.tenant import NO_TENANT, Tenant

log = logging.getLogger(__name__)

# How long a request waits for a connection, in seconds. Afterwards its client should retry later.
WAIT_SECONDS = 3.0

# The first statement of a pipeline, by whether it is read-only.
_BEGIN = {
    False: "SELECT set_config('app.tenant_id', %s, true)",
    True: (
        "SELECT set_config('app.tenant_id', %s, true),"
        " set_config('transaction_read_only', 'on', true)"
    ),
}
_SET_TENANT = text("SELECT set_config('app.tenant_id', :tenant, true)")


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """`size` connections may be open, `in_use` are; `waiting` requests wait for one."""

    size: int
    in_use: int
    waiting: int


class Database:
    """The pool of connections to Postgres, as the application role."""

    def __init__(
        self, url: str, *, pool_size: int = 10, statement_timeout: float | None = None
    ) -> None:
        """Creates the pool; connections are opened when needed.

        `statement_timeout`, in seconds, is set on each connection; not behind a transaction
        pooler, as it is session state: there the role's own setting applies.
        """
        self.engine = create_async_engine(
            sqlalchemy_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=WAIT_SECONDS,
            # The most recently used connection has the most prepared statements.
            pool_use_lifo=True,
            connect_args={"connect_timeout": 5, "application_name": "tracking"},
        )
        self._shares = ConnectionShares(pool_size, wait_seconds=WAIT_SECONDS)
        self._snapshots = self.engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._statement_timeout = statement_timeout
        event.listen(self.engine.sync_engine, "connect", self._configure)
        event.listen(self.engine.sync_engine, "checkout", _replace_closed)

    def _configure(self, connection: Any, _record: object) -> None:
        connection.run_async(self._prepare)

    async def _prepare(self, connection: psycopg.AsyncConnection) -> None:
        """Configure a new connection. Behind a pooler it must have no session state: no prepared
        statements and no settings."""
        if await _is_behind_pooler(connection):
            connection.prepare_threshold = None
        elif self._statement_timeout is not None:
            milliseconds = str(round(self._statement_timeout * 1000))
            await connection.execute(
                "SELECT set_config('statement_timeout', %s, false)", (milliseconds,)
            )
        await connection.commit()

    @asynccontextmanager
    async def read(self, tenant: Tenant) -> AsyncIterator[AsyncConnection]:
        """A read-only transaction of `tenant` in which all statements see one snapshot.

        Raises UnavailableError if Postgres does not answer, or no connection is free in time.
        """
        async with self._transaction(self._snapshots, tenant, read_only=True) as connection:
            yield connection

    @asynccontextmanager
    async def write(self, tenant: Tenant) -> AsyncIterator[AsyncConnection]:
        """A transaction of `tenant`: committed on a clean exit, rolled back on any other.

        Each statement sees what was committed when it began. Raises UnavailableError if Postgres
        does not answer, or no connection is free in time.
        """
        async with self._transaction(self.engine, tenant, read_only=False) as connection:
            yield connection

    @asynccontextmanager
    async def _transaction(
        self, engine: AsyncEngine, tenant: Tenant, *, read_only: bool
    ) -> AsyncIterator[AsyncConnection]:
        with _translated_errors():
            async with (
                self._shares.connection(tenant.slug, read_only=read_only),
                engine.begin() as connection,
            ):
                await connection.execute(_SET_TENANT, {"tenant": str(tenant.id)})
                yield connection

    def read_pipeline(
        self, tenant: Tenant, *, snapshot: bool = False
    ) -> AbstractAsyncContextManager[psycopg.AsyncConnection]:
        """A read-only `write_pipeline`.

        With `snapshot` all statements see one snapshot; otherwise each sees what was committed
        when it began.
        """
        return self._pipeline(tenant, read_only=True, snapshot=snapshot)

    def write_pipeline(
        self, tenant: Tenant
    ) -> AbstractAsyncContextManager[psycopg.AsyncConnection]:
        """psycopg's connection in a transaction of `tenant`, in pipeline mode.

        Statements are sent without waiting for results. Fetching from a cursor waits for all
        statements sent so far; after the context a cursor's rows are in memory. Committed on a
        clean exit, rolled back on any other.

        Raises UnavailableError if Postgres does not answer, or no connection is free in time.
        """
        return self._pipeline(tenant, read_only=False)

    @asynccontextmanager
    async def _pipeline(
        self, tenant: Tenant, *, read_only: bool, snapshot: bool = False
    ) -> AsyncIterator[psycopg.AsyncConnection]:
        with _translated_errors():
            async with (
                self._shares.connection(tenant.slug, read_only=read_only),
                self._autocommit.connect() as connection,
            ):
                raw = (await connection.get_raw_connection()).driver_connection
                assert isinstance(raw, psycopg.AsyncConnection)
                failed = False
                try:
                    # Statements of a pipeline up to its sync are one implicit transaction, so that
                    # BEGIN and COMMIT, and their round trips, are not needed.
                    async with raw.pipeline():
                        try:
                            if snapshot:
                                await raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                            await raw.execute(_BEGIN[read_only], (str(tenant.id),))
                            yield raw
                            if snapshot:
                                await raw.execute("COMMIT")
                        except BaseException:
                            failed = not await _roll_back(raw)
                            raise
                except psycopg.Error:
                    failed = True
                    raise
                finally:
                    if failed:
                        # Statements behind the one that failed were not prepared, although psycopg
                        # takes them for prepared: on this connection they would fail from now on.
                        await connection.invalidate()

    @asynccontextmanager
    async def without_tenant(self) -> AsyncIterator[AsyncConnection]:
        """A transaction of no tenant, which sees no tenant's rows: for the table of tenants.

        It counts against a share of its own. Raises UnavailableError as `write` does.
        """
        with _translated_errors():
            async with (
                self._shares.connection(NO_TENANT.slug, read_only=False),
                self.engine.begin() as connection,
            ):
                yield connection

    def pool_statistics(self) -> PoolStatistics:
        """How the pool is used now."""
        pool = self.engine.pool
        assert isinstance(pool, AsyncAdaptedQueuePool)
        return PoolStatistics(pool.size(), pool.checkedout(), self._shares.waiting)

    async def ready(self) -> migrate.State:
        """The state of the schema. Raises UnavailableError if Postgres does not answer."""
        async with self.without_tenant() as connection:
            table = await connection.scalar(text("SELECT to_regclass('alembic_version')"))
            if table is None:
                return "empty"
            return migrate.compare(
                await connection.scalar(text("SELECT version_num FROM alembic_version"))
            )

    async def close(self) -> None:
        """Close the connections."""
        await self.engine.dispose()


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Raise errors of the driver and of SQLAlchemy as errors of `app.kernel.errors`."""
    try:
        yield
    except exc.TimeoutError as error:
        raise UnavailableError("All database connections are busy; try again shortly") from error
    except (exc.IntegrityError, psycopg.errors.ForeignKeyViolation) as error:
        if _is_missing_tenant(error):
            raise NotFoundError("The tenant does not exist any more", field="tenant") from error
        raise
    except (exc.OperationalError, exc.InterfaceError, psycopg.OperationalError) as error:
        if isinstance(_cause(error), psycopg.errors.QueryCanceled):
            log.warning("a statement exceeded its timeout and was cancelled")
            raise UnavailableError("The database took too long to answer") from error
        log.warning("database unavailable: %s", str(error).splitlines()[0])
        raise UnavailableError("The database is not available; try again shortly") from error


async def _roll_back(connection: psycopg.AsyncConnection) -> bool:
    """Roll back the implicit transaction of a pipeline; False where a statement of it has failed,
    after which Postgres has rolled back already.

    BEGIN makes the transaction an explicit one; without it Postgres would warn that there is none
    to roll back.
    """
    try:
        await connection.execute("BEGIN")
        await connection.execute("ROLLBACK")
    except psycopg.Error:
        return False
    return True


def _is_missing_tenant(error: Exception) -> bool:
    """Whether a row was refused because its tenant was deleted while a worker had it cached."""
    cause = _cause(error)
    return isinstance(cause, psycopg.errors.ForeignKeyViolation) and (
        cause.diag.constraint_name or ""
    ).endswith("_tenants_fkey")


def _replace_closed(connection: Any, _record: object, _proxy: object) -> None:
    """Replace a connection that Postgres has closed while it was idle.

    An idle connection is readable only if it was closed. To poll it takes a microsecond, where
    `pool_pre_ping` takes a round trip.
    """
    raw = connection.driver_connection
    readable = select.poll()
    if not raw.closed:
        readable.register(raw.fileno(), select.POLLIN)
    if raw.closed or readable.poll(0):
        raise exc.DisconnectionError("Postgres has closed the connection")


def _cause(error: Exception) -> BaseException | None:
    """The error of the driver, psycopg."""
    return error.orig if isinstance(error, exc.DBAPIError) else error


async def _is_behind_pooler(connection: psycopg.AsyncConnection) -> bool:
    """Whether there is a transaction pooler between us and Postgres.

    PgBouncer makes up the process id in the handshake; Postgres sends the one that
    `pg_backend_pid()` returns.
    """
    cursor = await connection.execute("SELECT pg_backend_pid()")
    row = await cursor.fetchone()
    return row is None or row[0] != connection.info.backend_pid
