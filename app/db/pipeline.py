"""A transaction in libpq's pipeline mode: the connection of the hot paths.

psycopg's own pipeline took 240 µs of Python for six statements, and this one 60: a lone request to
log a metric spent more time in the driver than in Postgres. Values are converted by psycopg's
adapters, and sent and received by its binding of libpq; what is left out is what a general driver
needs beside that.
"""

import asyncio
import re
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

import psycopg
from psycopg import adapt, pq
from psycopg.abc import Transformer
from psycopg.adapt import PyFormat
from psycopg.errors import error_from_result

Row = tuple[Any, ...]

# Prepared statements of a connection, and how often a statement is sent before it is prepared.
# Those of searches are as many and as long as tenants make their filters, and most are sent once:
# longer ones are neither prepared nor counted.
MAX_PREPARED = 100
MAX_COUNTED = 100
PREPARED_AT = 5
MAX_PREPARED_BYTES = 16 << 10

# Seconds after which a waiting pipeline looks at its socket by itself. uvloop reports nothing of a
# socket on which an error is pending, as where Postgres was killed while something was sent.
LOOK_SECONDS = 0.25

# How long Postgres may take to give up an abandoned transaction.
CANCEL_SECONDS = 5.0

_PLACEHOLDER = re.compile(r"%(?:\((\w+)\)s|%)")

_COMMAND_OK = pq.ExecStatus.COMMAND_OK
_FATAL_ERROR = pq.ExecStatus.FATAL_ERROR
_FAILED = (_FATAL_ERROR, pq.ExecStatus.PIPELINE_ABORTED)
_PIPELINE_SYNC = pq.ExecStatus.PIPELINE_SYNC
_OK = pq.ConnStatus.OK
_IDLE = pq.TransactionStatus.IDLE
_NO_PIPELINE = pq.PipelineStatus.OFF
_TEXT = pq.Format.TEXT
_BINARY = pq.Format.BINARY
_AUTO = [PyFormat.AUTO]


class _Statement(NamedTuple):
    """A statement with numbered parameters, and their names in the order of the numbers."""

    text: bytes
    names: tuple[str, ...]


@lru_cache(maxsize=1024)
def _numbered(text: str) -> _Statement:
    """Turn the parameters `%(name)s` into `$1`, `$2`, …, and `%%` into `%`."""
    numbers: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        name = found[1]
        return "%" if name is None else f"${numbers.setdefault(name, len(numbers) + 1)}"

    return _Statement(_PLACEHOLDER.sub(number, text).encode(), tuple(numbers))


_Key = tuple[bytes, tuple[int, ...]]
"""A statement, and the types of its parameters as Postgres numbers them."""


class Session:
    """What outlives the transactions of a connection: its prepared statements, and its adapters.

    The least recently used statements are given up. Behind a transaction pooler nothing is
    prepared, since the next transaction may have another backend.
    """

    __slots__ = ("_counts", "_names", "_number", "_prepares", "connection", "transformer")

    def __init__(self, connection: "psycopg.AsyncConnection[Any]", *, prepares: bool) -> None:
        self.connection = connection
        self.transformer: Transformer = adapt.Transformer(connection)
        self._prepares = prepares
        self._names: OrderedDict[_Key, bytes] = OrderedDict()
        self._counts: OrderedDict[_Key, int] = OrderedDict()
        self._number = 0

    def name(self, key: _Key) -> bytes | None:
        """The name of a statement that is prepared."""
        name = self._names.get(key)
        if name is not None:
            self._names.move_to_end(key)
        return name

    def new_name(self, key: _Key) -> bytes | None:
        """The name to prepare a statement by, where it is sent often enough."""
        if not self._prepares or len(key[0]) > MAX_PREPARED_BYTES:
            return None
        count = self._counts.pop(key, 0) + 1
        if count < PREPARED_AT:
            self._counts[key] = count
            if len(self._counts) > MAX_COUNTED:
                self._counts.popitem(last=False)
            return None
        self._number += 1
        name = self._names[key] = b"tracking_%d" % self._number
        return name

    def forget(self, key: _Key) -> None:
        """Postgres has not prepared the statement."""
        self._names.pop(key, None)

    def surplus(self) -> bytes | None:
        """The name of a statement to give up, where too many are prepared."""
        return self._names.popitem(last=False)[1] if len(self._names) > MAX_PREPARED else None


class Cursor:
    """The result of a statement. Fetching waits for it; after the pipeline it is in memory."""

    __slots__ = ("_pipeline", "_place", "result")

    def __init__(self, pipeline: "Pipeline") -> None:
        self.result: pq.abc.PGresult | None = None
        self._pipeline = pipeline
        self._place = 0

    async def fetchall(self) -> list[Row]:
        """The rows that were not fetched yet. Raises psycopg.Error where a statement failed."""
        result, transformer = await self._ready()
        first, self._place = self._place, result.ntuples
        return transformer.load_rows(first, self._place, tuple)

    async def fetchone(self) -> Row | None:
        """The next row. Raises psycopg.Error where a statement failed."""
        result, transformer = await self._ready()
        if self._place >= result.ntuples:
            return None
        self._place += 1
        return transformer.load_row(self._place - 1, tuple)

    async def _ready(self) -> tuple[pq.abc.PGresult, Transformer]:
        if self.result is None:
            await self._pipeline.wait_for(self)
        assert self.result is not None
        transformer = self._pipeline.transformer
        transformer.set_pgresult(self.result)
        return self.result, transformer


class Pipeline:
    """The statements of one transaction, which Postgres answers in the order of sending.

    Statements up to the sync are one implicit transaction, so that BEGIN and COMMIT, and their
    round trips, are not needed. `finish`, `roll_back` or `abandon` ends it.
    """

    def __init__(self, session: Session) -> None:
        self.transformer = session.transformer
        self.session = session
        self._pgconn = session.connection.pgconn
        # What is yet to be answered: a query, the key of a statement to prepare, or else.
        self._pending: deque[Cursor | _Key | None] = deque()
        self._error: psycopg.Error | None = None
        self._awaited: Cursor | None = None  # None where it is the sync
        self._ending = False
        self._unsent = False
        self._waiter: asyncio.Future[None] | None = None
        self._look: asyncio.TimerHandle | None = None
        self._pgconn.enter_pipeline_mode()

    @property
    def is_clean(self) -> bool:
        """Whether the connection can be used for the next transaction."""
        pgconn = self._pgconn
        return pgconn.transaction_status == _IDLE and pgconn.pipeline_status == _NO_PIPELINE

    async def execute(
        self, text: str, values: Mapping[str, Any] | None = None, *, binary: bool = False
    ) -> Cursor:
        """Queue a statement with parameters like `%(name)s`.

        With `binary` the rows come in binary format, which is read in half the time where they are
        thousands of numbers.
        """
        statement, names = _numbered(text)
        return self._send(statement, [values[name] for name in names] if values else [], binary)

    async def execute_numbered(self, text: str, values: Sequence[Any]) -> Cursor:
        """Queue a statement with parameters like `$1`."""
        return self._send(text.encode(), values, False)

    def _send(self, text: bytes, values: Sequence[Any], binary: bool) -> Cursor:
        pgconn, pending, session = self._pgconn, self._pending, self.session
        transformer = self.transformer
        dumped = transformer.dump_sequence(values, _AUTO * len(values))
        types, formats = transformer.types or (), transformer.formats
        key = text, types
        result_format = _BINARY if binary else _TEXT
        name = session.name(key)
        if name is None and (name := session.new_name(key)) is not None:
            pgconn.send_prepare(name, text, types)
            pending.append(key)
            if (surplus := session.surplus()) is not None:
                pgconn.send_query_params(b"DEALLOCATE " + surplus, None)
                pending.append(None)
        if name is None:
            pgconn.send_query_params(text, dumped, types, formats, result_format)
        else:
            pgconn.send_query_prepared(name, dumped, formats, result_format)
        cursor = Cursor(self)
        pending.append(cursor)
        return cursor

    async def wait_for(self, cursor: Cursor) -> None:
        """Wait for the result of a statement. Raises psycopg.Error where one has failed."""
        if self._error is None:
            self._pgconn.send_flush_request()
            self._awaited = cursor
            await self._communicate()
        if self._error is not None:
            raise self._error

    async def finish(self) -> None:
        """Commit, and wait for all results. Raises psycopg.Error where a statement failed."""
        await self._sync()
        if self._error is not None:
            raise self._error
        if self._pgconn.status != _OK:
            raise psycopg.OperationalError("the connection is lost")

    async def roll_back(self) -> None:
        """Undo what was sent, unless the end of the transaction was sent too.

        BEGIN makes the transaction an explicit one; without it Postgres would warn that there is
        none to roll back.
        """
        if self._error is None and not self._ending:
            await self.execute("BEGIN")
            await self.execute("ROLLBACK")
        await self._sync()

    async def abandon(self) -> None:
        """End a transaction whose request was cancelled, by making Postgres give it up."""
        with suppress(psycopg.Error, TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                await self.session.connection.cancel_safe()
                await self.roll_back()

    async def _sync(self) -> None:
        pgconn = self._pgconn
        if pgconn.pipeline_status == _NO_PIPELINE or pgconn.status != _OK:
            return
        if not self._ending:
            pgconn.pipeline_sync()
            self._pending.append(None)
            self._ending = True
        self._awaited = None
        await self._communicate()
        if pgconn.status == _OK:
            pgconn.exit_pipeline_mode()

    async def _communicate(self) -> None:
        """Send what is queued, and receive until what is awaited has arrived."""
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        socket = self._pgconn.socket
        self._unsent = bool(self._pgconn.flush())
        if self._take_results():  # libpq also reads while it sends
            return
        self._look = loop.call_later(LOOK_SECONDS, self._look_again, loop, socket)
        loop.add_reader(socket, self._on_ready, loop, socket)
        if self._unsent:
            loop.add_writer(socket, self._on_ready, loop, socket)
        try:
            await waiter
        except asyncio.CancelledError:
            self._stop_listening(loop, socket)
            raise

    def _on_ready(self, loop: asyncio.AbstractEventLoop, socket: int) -> None:
        """Send more, and take what has arrived: the callback of the event loop."""
        waiter = self._waiter
        assert waiter is not None
        if waiter.done():  # it was cancelled just now
            return
        try:
            if self._unsent and not self._pgconn.flush():
                self._unsent = False
                loop.remove_writer(socket)
            arrived = self._receive()
        except psycopg.Error as error:  # the connection is lost
            self._error = self._error or error
            arrived = True
        if arrived:
            # At once: libpq closes the socket of a connection that is lost, and the next connection
            # may get its number.
            self._stop_listening(loop, socket)
            waiter.set_result(None)

    def _look_again(self, loop: asyncio.AbstractEventLoop, socket: int) -> None:
        assert self._waiter is not None
        if not self._waiter.done():
            self._look = loop.call_later(LOOK_SECONDS, self._look_again, loop, socket)
            self._on_ready(loop, socket)

    def _stop_listening(self, loop: asyncio.AbstractEventLoop, socket: int) -> None:
        assert self._look is not None
        self._look.cancel()
        loop.remove_reader(socket)
        if self._unsent:
            loop.remove_writer(socket)

    def _receive(self) -> bool:
        """Read what has arrived, and take all results; whether what is awaited is among them."""
        self._pgconn.consume_input()
        return self._take_results()

    def _take_results(self) -> bool:
        pgconn, pending = self._pgconn, self._pending
        while pending and not pgconn.is_busy():
            result = pgconn.get_result()
            if result is None:  # the end of what a statement returns
                pending.popleft()
                continue
            status = result.status
            if status == _PIPELINE_SYNC:
                pending.popleft()
                continue
            if status == _FATAL_ERROR and self._error is None:
                self._error = error_from_result(result, self.session.connection.info.encoding)
            awaiting = pending[0]
            if isinstance(awaiting, Cursor):
                if status not in _FAILED:  # else fetching raises
                    awaiting.result = result
            elif awaiting is not None and status != _COMMAND_OK:
                self.session.forget(awaiting)
            if pgconn.status != _OK:
                return True
        if self._awaited is None:
            return not pending
        return self._awaited.result is not None or self._error is not None
