"""Requests that wait together share a transaction.

While a batch of a tenant's is under way, what else comes for that tenant waits; the next batch
takes all that waits. Nothing waits on a timer, so what comes alone goes at once, and under load
batches grow by themselves. One that is full has nothing to gain by waiting: it may go beside the
first. Each request is answered after the commit that holds it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from time import perf_counter
from typing import Generic, TypeVar

from app.kernel.errors import TrackingError, UnavailableError
from app.kernel.tenant import Tenant
from app.observability.histogram import SECONDS, SIZES, Histogram

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Process = Callable[[Tenant, Sequence[Item]], Awaitable[Sequence[Answer | TrackingError]]]
"""Deals with all items in one transaction; answers each, or tells what stood against it alone."""


@dataclass(slots=True, eq=False)
class _Pending(Generic[Item, Answer]):
    item: Item
    size: int
    done: asyncio.Future[Answer]


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """What waits now; and since the start, what batches took and how many failed."""

    waiting_requests: int
    waiting_items: int
    batch_items: Histogram
    batch_seconds: Histogram
    failures: int


class Coalescer(Generic[Item, Answer]):
    """One per worker and kind of request. Tenants' batches run side by side, each tenant's one by
    one, or `at_once` where they are full: while Postgres has one, Python gets on with the next.

    `size` is what an item counts for, `max_batch` what a batch takes, so that a transaction and
    the wait for it stay short, and `max_waiting` what may wait in all; half of it for one tenant,
    so that none can take the others' room.
    """

    def __init__(
        self,
        process: Process[Item, Answer],
        *,
        max_batch: int,
        max_waiting: int,
        at_once: int = 1,
        size: Callable[[Item], int] = lambda _: 1,
    ) -> None:
        self._process = process
        self._size = size
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._at_once = at_once
        self._queues: dict[Tenant, _TenantQueue[Item, Answer]] = {}
        self._waiting = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._batch_items = Histogram(SIZES)
        self._batch_seconds = Histogram(SECONDS)
        self._failures = 0

    def statistics(self) -> QueueStatistics:
        return QueueStatistics(
            waiting_requests=sum(len(queue.waiting) for queue in self._queues.values()),
            waiting_items=self._waiting,
            batch_items=self._batch_items,
            batch_seconds=self._batch_seconds,
            failures=self._failures,
        )

    async def submit(self, tenant: Tenant, item: Item) -> Answer:
        """The answer to one item.

        Raises what `process` said of it, or UnavailableError where too much waits already.
        """
        size = self._size(item)
        queue = self._queues.get(tenant)
        waiting = self._waiting + size
        if queue and (waiting > self._max_waiting or queue.size + size > self._max_waiting // 2):
            raise UnavailableError("Too many requests are waiting; try again shortly")
        pending = _Pending(item, size, asyncio.get_running_loop().create_future())
        self._waiting = waiting
        if queue is None:
            queue = self._queues[tenant] = _TenantQueue()
        queue.put(pending)
        full = queue.size >= self._max_batch
        if not queue.drains or (full and queue.drains < self._at_once):
            queue.drains += 1
            # Not in this request's context: what it does is for those that come after, too.
            task = asyncio.create_task(self._drain(tenant, queue), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        answer: Answer = await pending.done
        return answer

    async def _drain(self, tenant: Tenant, queue: "_TenantQueue[Item, Answer]") -> None:
        # The last one that is left takes all that waits.
        while queue.waiting and (not queue.batches or queue.size >= self._max_batch):
            batch = queue.take(self._max_batch)
            self._waiting -= sum(pending.size for pending in batch)
            queue.batches += 1
            await self._answer(tenant, batch)
            queue.batches -= 1
        queue.drains -= 1
        if not queue.drains:
            del self._queues[tenant]

    async def _answer(self, tenant: Tenant, batch: "list[_Pending[Item, Answer]]") -> None:
        """Process a batch and answer each of its items, whatever happens."""
        started = perf_counter()
        try:
            answers = await self._process(tenant, [pending.item for pending in batch])
        except Exception as error:
            self._failures += 1
            if len(batch) == 1 or isinstance(error, TrackingError):
                for pending in batch:
                    _settle(pending, error)
                return
            # One item made Postgres refuse all of them: its neighbours must not suffer for it.
            log.exception("a batch of %d failed; its items are processed one by one", len(batch))
            for pending in batch:
                await self._answer(tenant, [pending])
            return
        self._batch_seconds.observe(perf_counter() - started)
        self._batch_items.observe(sum(pending.size for pending in batch))
        for pending, answer in zip(batch, answers, strict=True):
            _settle(pending, answer)


class _TenantQueue(Generic[Item, Answer]):
    def __init__(self) -> None:
        self.waiting: deque[_Pending[Item, Answer]] = deque()
        self.size = 0
        self.batches = 0  # under way
        self.drains = 0  # the tasks that begin them

    def put(self, pending: _Pending[Item, Answer]) -> None:
        self.waiting.append(pending)
        self.size += pending.size

    def take(self, max_batch: int) -> list[_Pending[Item, Answer]]:
        """The oldest items, at least one, up to the size of a batch."""
        taken: list[_Pending[Item, Answer]] = []
        size = 0
        while self.waiting and (not taken or size + self.waiting[0].size <= max_batch):
            taken.append(self.waiting.popleft())
            size += taken[-1].size
        self.size -= size
        return taken


def _settle(pending: _Pending[Item, Answer], answer: Answer | Exception) -> None:
    if pending.done.done():  # its client has gone
        return
    if isinstance(answer, Exception):
        pending.done.set_exception(answer)
    else:
        pending.done.set_result(answer)
