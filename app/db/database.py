"""The pool of connections to Postgres, and transactions. Every transaction is one tenant's.

- `read` and `write` give a SQLAlchemy connection, for statements that SQLAlchemy builds.
- `read_pipeline` and `write_pipeline` give psycopg's own connection in pipeline mode, for the hot
  paths: their statements are written out, and travel to Postgres together.

A read only shows what it read. Postgres refuses whatever would change something in it, and it gives
way to writes when connections are scarce. What is read in order to decide on a write belongs to
that write. `app.db.connection_shares` keeps one tenant from taking the whole pool.
"""

import logging
import select
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
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

# How long a request waits for a connection, in seconds. Who has none by then had better come back
# than wait on.
PATIENCE = 3.0

# How a pipeline begins, by whether it only reads.
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
    """Connections that may be open, and that are in use; requests that wait for one."""

    size: int
    in_use: int
    waiting: int


class Database:
    """The pool of connections to Postgres, as the application role."""

    def __init__(
        self, url: str, *, pool_size: int = 10, statement_timeout: float | None = None
    ) -> None:
        """`statement_timeout`, in seconds, ends what takes longer; behind a transaction pooler the
        role's own setting does, since this one would be session state."""
        self.engine = create_async_engine(
            sqlalchemy_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=PATIENCE,
            # The connection used last has the most statements prepared.
            pool_use_lifo=True,
            connect_args={"connect_timeout": 5, "application_name": "tracking"},
        )
        self._shares = ConnectionShares(pool_size, patience=PATIENCE)
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
        """Leave no session state where a pooler would hand it to others: prepared statements, and
        settings."""
        if await _pooled(connection):
            connection.prepare_threshold = None
        elif self._statement_timeout is not None:
            milliseconds = str(round(self._statement_timeout * 1000))
            await connection.execute(
                "SELECT set_config('statement_timeout', %s, false)", (milliseconds,)
            )
        await connection.commit()

    @asynccontextmanager
    async def read(self, tenant: Tenant) -> AsyncIterator[AsyncConnection]:
        """A read-only transaction of `tenant`, whose statements all see the same moment.

        Raises UnavailableError where Postgres does not answer, or no connection is free in time.
        """
        async with self._transaction(self._snapshots, tenant, read_only=True) as connection:
            yield connection

    @asynccontextmanager
    async def write(self, tenant: Tenant) -> AsyncIterator[AsyncConnection]:
        """A transaction of `tenant`, committed on a clean exit. Each statement sees what was
        committed when it began.

        Raises UnavailableError where Postgres does not answer, or no connection is free in time.
        """
        async with self._transaction(self.engine, tenant, read_only=False) as connection:
            yield connection

    @asynccontextmanager
    async def _transaction(
        self, engine: AsyncEngine, tenant: Tenant, *, read_only: bool
    ) -> AsyncIterator[AsyncConnection]:
        with _translated():
            async with (
                self._shares.connection(tenant.slug, read_only=read_only),
                engine.begin() as connection,
            ):
                await connection.execute(_SET_TENANT, {"tenant": str(tenant.id)})
                yield connection

    def read_pipeline(
        self, tenant: Tenant, *, snapshot: bool = False
    ) -> AbstractAsyncContextManager[psycopg.AsyncConnection]:
        """`write_pipeline` for statements that only read.

        With `snapshot` all of them see the same moment; otherwise each sees what was committed when
        it began.
        """
        return self._pipeline(tenant, read_only=True, snapshot=snapshot)

    def write_pipeline(
        self, tenant: Tenant
    ) -> AbstractAsyncContextManager[psycopg.AsyncConnection]:
        """The driver's connection in a transaction of `tenant`, in pipeline mode.

        Statements are sent without waiting for one another's answers. Fetching from a cursor
        waits for what was sent until then; after the context a cursor has its rows at no cost.
        Committed on a clean exit, rolled back on any other.

        Raises UnavailableError where Postgres does not answer, or no connection is free in time.
        """
        return self._pipeline(tenant, read_only=False)

    @asynccontextmanager
    async def _pipeline(
        self, tenant: Tenant, *, read_only: bool, snapshot: bool = False
    ) -> AsyncIterator[psycopg.AsyncConnection]:
        with _translated():
            async with (
                self._shares.connection(tenant.slug, read_only=read_only),
                self._autocommit.connect() as connection,
            ):
                raw = (await connection.get_raw_connection()).driver_connection
                assert isinstance(raw, psycopg.AsyncConnection)
                # What a pipeline sends before it is synchronized is one transaction of itself,
                # so that a begin and a commit, and their round trips, are not needed.
                async with raw.pipeline():
                    try:
                        if snapshot:
                            await raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                        await raw.execute(_BEGIN[read_only], (str(tenant.id),))
                        yield raw
                        if snapshot:
                            await raw.execute("COMMIT")
                    except BaseException:
                        await _undo(raw)
                        raise

    @asynccontextmanager
    async def without_tenant(self) -> AsyncIterator[AsyncConnection]:
        """A transaction of no tenant, for what stands outside them all: it sees no tenant's row.

        Raises what `write` raises. It has a share of its own, whoever asks.
        """
        with _translated():
            async with (
                self._shares.connection(NO_TENANT.slug, read_only=False),
                self.engine.begin() as connection,
            ):
                yield connection

    def pool_statistics(self) -> PoolStatistics:
        pool = self.engine.pool
        assert isinstance(pool, AsyncAdaptedQueuePool)
        return PoolStatistics(pool.size(), pool.checkedout(), self._shares.waiting)

    async def ready(self) -> migrate.State:
        """The state of the schema. Raises UnavailableError where Postgres does not answer."""
        async with self.without_tenant() as connection:
            table = await connection.scalar(text("SELECT to_regclass('alembic_version')"))
            if table is None:
                return "empty"
            return migrate.compare(
                await connection.scalar(text("SELECT version_num FROM alembic_version"))
            )

    async def close(self) -> None:
        await self.engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except exc.TimeoutError as error:
        raise UnavailableError("All database connections are busy; try again shortly") from error
    except (exc.IntegrityError, psycopg.errors.ForeignKeyViolation) as error:
        if _lost_its_tenant(error):
            raise NotFoundError("The tenant does not exist any more", field="tenant") from error
        raise
    except (exc.OperationalError, exc.InterfaceError, psycopg.OperationalError) as error:
        if isinstance(_cause(error), psycopg.errors.QueryCanceled):
            log.warning("a statement took too long and was ended")
            raise UnavailableError("The database took too long to answer") from error
        log.warning("database unavailable: %s", str(error).splitlines()[0])
        raise UnavailableError("The database is not available; try again shortly") from error


async def _undo(connection: psycopg.AsyncConnection) -> None:
    """Roll back what a pipeline has sent. The begin makes it a transaction that can be ended
    without Postgres's warning that there is none."""
    with suppress(psycopg.Error):  # of the statement that failed: Postgres has rolled back itself
        await connection.execute("BEGIN")
        await connection.execute("ROLLBACK")


def _lost_its_tenant(error: Exception) -> bool:
    """Whether a row was refused because its tenant was deleted while a worker still knew it."""
    cause = _cause(error)
    return isinstance(cause, psycopg.errors.ForeignKeyViolation) and (
        cause.diag.constraint_name or ""
    ).endswith("_tenants_fkey")


def _replace_closed(connection: Any, _record: object, _proxy: object) -> None:
    """Have a new connection made in the place of one that Postgres has closed while it was idle.

    On an idle connection there is nothing to read but its end. To look takes a microsecond, where
    `pool_pre_ping` takes a round trip.
    """
    raw = connection.driver_connection
    readable = select.poll()
    if not raw.closed:
        readable.register(raw.fileno(), select.POLLIN)
    if raw.closed or readable.poll(0):
        raise exc.DisconnectionError("Postgres has closed the connection")


def _cause(error: Exception) -> BaseException | None:
    """The driver's own error."""
    return error.orig if isinstance(error, exc.DBAPIError) else error


async def _pooled(connection: psycopg.AsyncConnection) -> bool:
    """Whether a transaction pooler stands in between.

    PgBouncer answers the handshake with a process id of its own making; Postgres with the one
    that `pg_backend_pid()` tells.
    """
    cursor = await connection.execute("SELECT pg_backend_pid()")
    row = await cursor.fetchone()
    return row is None or row[0] != connection.info.backend_pid
