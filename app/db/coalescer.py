"""Group commit: concurrent requests of a tenant share a transaction, answered after its commit.

While a batch of a tenant is being processed, further requests of the tenant wait; the next batch
takes all of them. There is no timer: a lone request is processed at once, and batches grow with the
load. A batch that is full would gain nothing by waiting, so it may start beside the first.
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
"""Processes all items in one transaction; returns an answer or an error for each of them."""


@dataclass(slots=True, eq=False)
class _Pending(Generic[Item, Answer]):
    """An item that waits for its answer."""

    item: Item
    size: int
    done: asyncio.Future[Answer]


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """What waits now; the sizes and durations of batches, and how many failed, since the start."""

    waiting_requests: int
    waiting_items: int
    batch_items: Histogram
    batch_seconds: Histogram
    failures: int


class Coalescer(Generic[Item, Answer]):
    """Batches the items of each tenant. There is one coalescer per worker and kind of request.

    Tenants do not wait for each other. Of one tenant, one batch is processed at a time, or up to
    `max_concurrent` full ones, so that Python prepares a batch while Postgres has another.

    `size` says how much an item counts, and `max_batch` how much a batch may hold, which keeps
    transactions short. `max_waiting` is how much may wait in all; one tenant may have half of it,
    so that no tenant can fill the queue.
    """

    def __init__(
        self,
        process: Process[Item, Answer],
        *,
        max_batch: int,
        max_waiting: int,
        max_concurrent: int = 1,
        size: Callable[[Item], int] = lambda _: 1,
    ) -> None:
        self._process = process
        self._size = size
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._max_concurrent = max_concurrent
        self._queues: dict[Tenant, _TenantQueue[Item, Answer]] = {}
        self._waiting = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._batch_items = Histogram(SIZES)
        self._batch_seconds = Histogram(SECONDS)
        self._failures = 0

    def statistics(self) -> QueueStatistics:
        """The state of the queue, for the service's metrics."""
        return QueueStatistics(
            waiting_requests=sum(len(queue.waiting) for queue in self._queues.values()),
            waiting_items=self._waiting,
            batch_items=self._batch_items,
            batch_seconds=self._batch_seconds,
            failures=self._failures,
        )

    async def submit(self, tenant: Tenant, item: Item) -> Answer:
        """Process one item with others of its tenant; returns its answer.

        Raises the error that `process` returned for it, the error that the whole batch failed with,
        or UnavailableError where too much waits already.
        """
        size = self._size(item)
        queue = self._queues.get(tenant)
        waiting = self._waiting + size
        if queue and (waiting > self._max_waiting or queue.size + size > self._max_waiting // 2):
            raise UnavailableError("Too many requests are waiting; try again shortly")
        pending = _Pending(item, size, asyncio.get_running_loop().create_future())
        if queue is None:
            await self._process_alone(tenant, pending)
        else:
            self._waiting = waiting
            queue.put(pending)
            if queue.size >= self._max_batch and queue.tasks < self._max_concurrent:
                self._start_draining(tenant, queue)
        answer: Answer = await pending.done
        return answer

    async def _process_alone(self, tenant: Tenant, pending: "_Pending[Item, Answer]") -> None:
        """Process an item that nobody waits beside: in its own request, without a task."""
        queue = self._queues[tenant] = _TenantQueue()
        queue.tasks = queue.batches = 1
        try:
            await self._process_batch(tenant, [pending])
        finally:
            queue.batches -= 1
            queue.tasks -= 1
            if not queue.tasks:
                if queue.waiting:
                    self._start_draining(tenant, queue)
                else:
                    del self._queues[tenant]

    def _start_draining(self, tenant: Tenant, queue: "_TenantQueue[Item, Answer]") -> None:
        queue.tasks += 1
        # In a context of its own: the task processes items of many requests.
        task = asyncio.create_task(self._drain(tenant, queue), context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drain(self, tenant: Tenant, queue: "_TenantQueue[Item, Answer]") -> None:
        """Process what waits, batch by batch; beside another task's batch only full batches."""
        while queue.waiting and (not queue.batches or queue.size >= self._max_batch):
            batch = queue.take(self._max_batch)
            self._waiting -= sum(pending.size for pending in batch)
            queue.batches += 1
            await self._process_batch(tenant, batch)
            queue.batches -= 1
        queue.tasks -= 1
        if not queue.tasks:
            del self._queues[tenant]

    async def _process_batch(self, tenant: Tenant, batch: "list[_Pending[Item, Answer]]") -> None:
        """Process a batch, and give each of its items an answer or an error."""
        started = perf_counter()
        try:
            answers = await self._process(tenant, [pending.item for pending in batch])
        except Exception as error:
            self._failures += 1
            if len(batch) == 1 or isinstance(error, TrackingError):
                for pending in batch:
                    _resolve(pending, error)
                return
            # Postgres rolled back all items because of one: the others are processed without it.
            log.exception("a batch of %d failed; its items are processed one by one", len(batch))
            for pending in batch:
                await self._process_batch(tenant, [pending])
            return
        self._batch_seconds.observe(perf_counter() - started)
        self._batch_items.observe(sum(pending.size for pending in batch))
        for pending, answer in zip(batch, answers, strict=True):
            _resolve(pending, answer)


class _TenantQueue(Generic[Item, Answer]):
    """The items of one tenant that wait, and the tasks that process them."""

    def __init__(self) -> None:
        self.waiting: deque[_Pending[Item, Answer]] = deque()
        self.size = 0
        self.batches = 0  # being processed
        self.tasks = 0  # that take batches

    def put(self, pending: _Pending[Item, Answer]) -> None:
        self.waiting.append(pending)
        self.size += pending.size

    def take(self, max_batch: int) -> list[_Pending[Item, Answer]]:
        """The oldest items whose sizes fit a batch; one item at least."""
        taken: list[_Pending[Item, Answer]] = []
        size = 0
        while self.waiting and (not taken or size + self.waiting[0].size <= max_batch):
            taken.append(self.waiting.popleft())
            size += taken[-1].size
        self.size -= size
        return taken


def _resolve(pending: _Pending[Item, Answer], answer: Answer | Exception) -> None:
    if pending.done.done():  # cancelled, since the client has disconnected
        return
    if isinstance(answer, Exception):
        pending.done.set_exception(answer)
    else:
        pending.done.set_result(answer)
