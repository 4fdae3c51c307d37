"""Fair thread pool: threads for blocking calls, shared by tenants round-robin."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import islice
from threading import Lock
from typing import Any, ParamSpec, TypeVar

import anyio

_BATCH_ITEMS = 1000

P = ParamSpec("P")
T = TypeVar("T")

_Call = tuple["Future[Any]", Callable[[], Any]]


class FairThreadPool:
    """A pool of `count` threads of which a tenant may hold three quarters.

    Each owner has a pool of its own, so that a slow disk or network does not block the rest of the
    process. Calls of a tenant run in the order of submission; tenants that wait are served
    round-robin. A call must not wait for a client.
    """

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="blocking")
        self._count = count
        self._per_tenant = max(1, count * 3 // 4)
        self._lock = Lock()
        # Calls that wait, by tenant, in the round's order; and the threads that each tenant holds.
        self._waiting: dict[str, deque[_Call]] = {}
        self._held: Counter[str] = Counter()
        self._busy = 0

    def of(self, tenant: str) -> "TenantThreadPool":
        """The pool for calls of one tenant."""
        return TenantThreadPool(self, tenant)

    def start(
        self, tenant: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> "asyncio.Future[T]":
        """Submit a call; the future has its result or its exception."""
        future: Future[T] = Future()
        with self._lock:
            self._waiting.setdefault(tenant, deque()).append(
                (future, partial(call, *args, **kwargs))
            )
            may_start = self._busy < self._count and self._held[tenant] < self._per_tenant
            self._busy += may_start
        if may_start:
            self._pool.submit(self._run_waiting)
        return asyncio.wrap_future(future)

    def _run_waiting(self) -> None:
        """Run calls in this thread until none is left that may run."""
        tenant = None
        while (found := self._next(tenant)) is not None:
            tenant, (future, call) = found
            if future.set_running_or_notify_cancel():
                _complete(future, call)
            del found, future, call  # release what they reference before the next call runs

    def _next(self, finished: str | None) -> tuple[str, _Call] | None:
        """The next call and its tenant; `finished` is the tenant of this thread's last call."""
        with self._lock:
            if finished is not None:
                self._held[finished] -= 1
                if not self._held[finished]:
                    del self._held[finished]
            tenant = next(
                (name for name in self._waiting if self._held[name] < self._per_tenant), None
            )
            if tenant is None:
                self._busy -= 1
                return None
            queue = self._waiting.pop(tenant)
            call = queue.popleft()
            if queue:
                self._waiting[tenant] = queue  # the dictionary's end is the end of the round
            self._held[tenant] += 1
            return tenant, call

    async def close(self) -> None:
        """Wait for the calls that run, and end the threads."""
        await asyncio.to_thread(self._pool.shutdown)


class TenantThreadPool:
    """A fair thread pool, for calls of one tenant."""

    def __init__(self, pool: FairThreadPool, tenant: str) -> None:
        self._pool = pool
        self._tenant = tenant

    def start(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[T]":
        """Submit a call; the future has its result or its exception."""
        return self._pool.start(self._tenant, call, *args, **kwargs)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a call, as `wait_finished` waits for it."""
        return await wait_finished(self.start(call, *args, **kwargs))

    async def batched(self, items: Iterator[T]) -> AsyncIterator[T]:
        """The items of a blocking iterator, read a thousand at a time in a thread."""
        while batch := await self.run(lambda: list(islice(items, _BATCH_ITEMS))):
            for item in batch:
                yield item


def _complete(future: "Future[T]", call: Callable[[], T]) -> None:
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


async def wait_finished(call: "asyncio.Future[T]") -> T:
    """The result of a call in a thread.

    If the task is cancelled, raises CancelledError only after the call has returned: the caller
    may then clean up files and connections that the thread used.
    """
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        # anyio repeats a cancellation until it is obeyed; the shield keeps it from busy-looping.
        with anyio.CancelScope(shield=True):
            while not call.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([call])
        if not call.cancelled():
            call.exception()  # mark it as retrieved
        raise
