"""The write path: coalesce, commit, then answer.

Writes to the runs of a tenant wait while a flush of that tenant's is under way; the next flush
takes all that wait, in one transaction. Nothing waits on a timer, so a lone write goes at once,
and under load a flush grows by itself. Each write is answered after the commit that holds it.
"""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from time import perf_counter

from app.db.database import Database
from app.errors import TrackingError, UnavailableError
from app.operations.histogram import SECONDS, SIZES, Histogram
from app.runs.entities import RunWrite
from app.runs.flush import SeriesIds, flush
from app.tenancy.tenant import Tenant

log = logging.getLogger(__name__)

# What one flush takes at most, so that a transaction, and the wait for it, stay short.
MAX_FLUSH_ITEMS = 5_000
# What may wait for a tenant before its writers are told to come back later.
MAX_WAITING_ITEMS = 200_000


@dataclass(slots=True, eq=False)
class _Pending:
    write: RunWrite
    items: int
    done: asyncio.Future[None]


class _TenantQueue:
    def __init__(self) -> None:
        self.waiting: deque[_Pending] = deque()
        self.items = 0

    def put(self, pending: _Pending) -> None:
        self.waiting.append(pending)
        self.items += pending.items

    def take(self) -> list[_Pending]:
        """The oldest writes, at least one, up to the size of a flush."""
        taken: list[_Pending] = []
        size = 0
        while self.waiting and (not taken or size + self.waiting[0].items <= MAX_FLUSH_ITEMS):
            pending = self.waiting.popleft()
            taken.append(pending)
            size += pending.items
        self.items -= size
        return taken


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """What waits now; and since the start, what flushes took and how many failed."""

    waiting_writes: int
    waiting_items: int
    flush_items: Histogram
    flush_seconds: Histogram
    failures: int


class WriteQueue:
    """One per worker. Tenants are flushed side by side, each by one flush at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queues: dict[Tenant, _TenantQueue] = {}
        self._series_ids = SeriesIds()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flush_items = Histogram(SIZES)
        self._flush_seconds = Histogram(SECONDS)
        self._failures = 0

    def statistics(self) -> QueueStatistics:
        queues = self._queues.values()
        return QueueStatistics(
            waiting_writes=sum(len(queue.waiting) for queue in queues),
            waiting_items=sum(queue.items for queue in queues),
            flush_items=self._flush_items,
            flush_seconds=self._flush_seconds,
            failures=self._failures,
        )

    async def write(self, tenant: Tenant, write: RunWrite) -> None:
        """Return once `write`, which has been validated, is committed.

        Raises NotFoundError or InvalidStateError for its run, ConflictError for a param that has
        another value, UnavailableError where too much waits or Postgres does not answer.
        """
        queue = self._queues.get(tenant)
        idle = queue is None
        if queue is None:
            queue = self._queues[tenant] = _TenantQueue()
        if queue.items > MAX_WAITING_ITEMS:
            raise UnavailableError("Too many writes are waiting for this tenant; try again shortly")
        items = 1 + len(write.points) + len(write.params) + len(write.tags)
        pending = _Pending(write, items, asyncio.get_running_loop().create_future())
        queue.put(pending)
        if idle:
            task = asyncio.create_task(self._drain(tenant, queue))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await pending.done

    async def _drain(self, tenant: Tenant, queue: _TenantQueue) -> None:
        while queue.waiting:
            await self._flush(tenant, queue.take())
        del self._queues[tenant]

    async def _flush(self, tenant: Tenant, batch: list[_Pending]) -> None:
        """Write a batch and answer each of its writes, whatever happens."""
        started = perf_counter()
        try:
            writes = [one.write for one in batch]
            results = await flush(self._database, tenant, writes, self._series_ids)
        except Exception as error:
            self._failures += 1
            if len(batch) == 1 or isinstance(error, TrackingError):
                for one in batch:
                    _answer(one, error)
                return
            # One write made Postgres refuse all of them: its neighbours must not suffer for it.
            log.exception("a flush of %d writes failed; writing them one by one", len(batch))
            for one in batch:
                await self._flush(tenant, [one])
            return
        self._flush_seconds.observe(perf_counter() - started)
        self._flush_items.observe(sum(one.items for one in batch))
        for one, result in zip(batch, results, strict=True):
            _answer(one, result)


def _answer(pending: _Pending, error: Exception | None) -> None:
    if pending.done.done():  # its client has gone
        return
    if error is None:
        pending.done.set_result(None)
    else:
        pending.done.set_exception(error)
