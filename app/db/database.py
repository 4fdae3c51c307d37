"""Database: the pool of connections to Postgres, and transactions, each of one tenant.

- `read` and `write` give a SQLAlchemy connection, for statements that SQLAlchemy builds.
- `read_pipeline` and `write_pipeline` give a `Pipeline`, for hot paths: their statements are SQL
  texts, which are sent to Postgres together.

Reads are for data that is shown. Postgres refuses changes in them, and they give way to writes when
connections are scarce. A read that decides on a write belongs to the transaction of that write.
`app.db.connection_shares` keeps one tenant from using up the pool.
"""

import asyncio
import logging
import select
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import event, exc, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.util import greenlet_spawn

from app.db import migrate
from app.db.connection_shares import ConnectionShares
from app.db.pipeline import Pipeline, Session
from app.db.url import sqlalchemy_url
from app.kernel.errors import NotFoundError, UnavailableError
from app.kernel.tenant import NO_TENANT, Tenant

log = logging.getLogger(__name__)

# How long a request waits for a connection, in seconds. Afterwards its client should retry later.
WAIT_SECONDS = 3.0

# The first statement of a pipeline, by whether it is read-only.
_BEGIN = {
    False: "SELECT set_config('app.tenant_id', %(tenant)s, true)",
    True: (
        "SELECT set_config('app.tenant_id', %(tenant)s, true),"
        " set_config('transaction_read_only', 'on', true)"
    ),
}
_BEGIN_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Key of a pooled connection's session.
_SESSION = "session"
_WITHIN_TRANSACTION = (TransactionStatus.INTRANS, TransactionStatus.INERROR)
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
            # Each of the contexts below ends its transaction itself.
            pool_reset_on_return=None,
            connect_args={"connect_timeout": 5, "application_name": "tracking"},
        )
        self._shares = ConnectionShares(pool_size, wait_seconds=WAIT_SECONDS)
        self._snapshots = self.engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        self._statement_timeout = statement_timeout
        event.listen(self.engine.sync_engine, "connect", self._configure)
        event.listen(self.engine.sync_engine, "checkout", _replace_closed)

    def _configure(self, connection: Any, record: Any) -> None:
        record.info[_SESSION] = connection.run_async(self._prepare)

    async def _prepare(self, connection: psycopg.AsyncConnection) -> Session:
        """Configure a new connection. Behind a pooler it must have no session state: no prepared
        statements and no settings."""
        # psycopg would give up all prepared statements, those of the session too, at each rollback.
        connection.prepare_threshold = None
        pooled = await _is_behind_pooler(connection)
        if not pooled and self._statement_timeout is not None:
            milliseconds = str(round(self._statement_timeout * 1000))
            await connection.execute(
                "SELECT set_config('statement_timeout', %s, false)", (milliseconds,)
            )
        await connection.commit()
        return Session(connection, prepares=not pooled)

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
    ) -> AbstractAsyncContextManager[Pipeline]:
        """A read-only `write_pipeline`.

        With `snapshot` all statements see one snapshot; otherwise each sees what was committed
        when it began.
        """
        return self._pipeline(tenant, read_only=True, snapshot=snapshot)

    def write_pipeline(self, tenant: Tenant) -> AbstractAsyncContextManager[Pipeline]:
        """A transaction of `tenant` in pipeline mode.

        Statements are sent without waiting for results. Fetching from a cursor waits for all
        statements sent so far; after the context a cursor's rows are in memory. Committed on a
        clean exit, rolled back on any other.

        Raises UnavailableError if Postgres does not answer, or no connection is free in time.
        """
        return self._pipeline(tenant, read_only=False)

    @asynccontextmanager
    async def _pipeline(
        self, tenant: Tenant, *, read_only: bool, snapshot: bool = False
    ) -> AsyncIterator[Pipeline]:
        with _translated_errors():
            async with self._shares.connection(tenant.slug, read_only=read_only):
                # Connecting is a coroutine that SQLAlchemy runs in a greenlet.
                connection = await greenlet_spawn(self.engine.pool.connect)
                pipeline = Pipeline(connection.info[_SESSION])
                try:
                    try:
                        if snapshot:
                            await pipeline.execute(_BEGIN_SNAPSHOT)
                        await pipeline.execute(_BEGIN[read_only], {"tenant": str(tenant.id)})
                        yield pipeline
                        if snapshot:
                            await pipeline.execute("COMMIT")
                        await pipeline.finish()
                    except asyncio.CancelledError:
                        await pipeline.abandon()
                        raise
                    except BaseException:
                        await pipeline.roll_back()
                        raise
                finally:
                    if pipeline.is_clean:
                        connection.close()
                    else:
                        await greenlet_spawn(connection.invalidate)

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


def _is_missing_tenant(error: Exception) -> bool:
    """Whether a row was refused because its tenant was deleted while a worker had it cached."""
    cause = _cause(error)
    return isinstance(cause, psycopg.errors.ForeignKeyViolation) and (
        cause.diag.constraint_name or ""
    ).endswith("_tenants_fkey")


def _replace_closed(connection: Any, _record: object, _proxy: object) -> None:
    """Replace a connection that Postgres has closed while it was idle, or that was left within a
    transaction, which would swallow the commits of the next ones.

    An idle connection is readable only if it was closed. To poll it takes a microsecond, where
    `pool_pre_ping` takes a round trip.
    """
    raw = connection.driver_connection
    if raw.pgconn.transaction_status in _WITHIN_TRANSACTION:
        raise exc.DisconnectionError("The connection was left within a transaction")
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
