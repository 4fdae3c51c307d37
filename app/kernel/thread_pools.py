"""Threads for what blocks, shared fairly by tenants, and how the event loop waits for them."""

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

_ITEMS_AT_ONCE = 1000

P = ParamSpec("P")
T = TypeVar("T")

_Work = tuple["Future[Any]", Callable[[], Any]]


class Threads:
    """A few threads of their owner's own, so that a slow disk or network doesn't starve the rest of
    the process. One is held for a piece of work, never while a client sends or receives.

    Tenants that wait have their turns one after the other, and none holds all threads: whatever
    one asks for, the others wait for no longer than a piece of work takes.
    """

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="blocking")
        self._count = count
        self._most = max(1, count * 3 // 4)  # for one tenant
        self._lock = Lock()
        # Of each tenant what waits, the one whose turn is next first, and what is being done.
        self._waiting: dict[str, deque[_Work]] = {}
        self._held: Counter[str] = Counter()
        self._working = 0

    def of(self, tenant: str) -> "TenantThreads":
        return TenantThreads(self, tenant)

    def start(
        self, tenant: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> "asyncio.Future[T]":
        done: Future[T] = Future()
        with self._lock:
            self._waiting.setdefault(tenant, deque()).append((done, partial(call, *args, **kwargs)))
            idle = self._working < self._count and self._held[tenant] < self._most
            self._working += idle
        if idle:
            self._pool.submit(self._work)
        return asyncio.wrap_future(done)

    def _work(self) -> None:
        """One thread, for as long as there is something that it may do."""
        tenant = None
        while (found := self._next(tenant)) is not None:
            tenant, (done, call) = found
            if done.set_running_or_notify_cancel():
                _settle(done, call)
            del found, done, call  # what they hold is not to wait for the next piece of work

    def _next(self, before: str | None) -> tuple[str, _Work] | None:
        """The next piece of work; `before` is whose this thread has just done."""
        with self._lock:
            if before is not None:
                self._held[before] -= 1
                if not self._held[before]:
                    del self._held[before]
            tenant = next((one for one in self._waiting if self._held[one] < self._most), None)
            if tenant is None:
                self._working -= 1
                return None
            waiting = self._waiting.pop(tenant)
            work = waiting.popleft()
            if waiting:
                self._waiting[tenant] = waiting  # behind the others
            self._held[tenant] += 1
            return tenant, work

    async def close(self) -> None:
        await asyncio.to_thread(self._pool.shutdown)


class TenantThreads:
    """The threads as one tenant has them."""

    def __init__(self, threads: Threads, tenant: str) -> None:
        self._threads = threads
        self._tenant = tenant

    def start(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[T]":
        return self._threads.start(self._tenant, call, *args, **kwargs)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await finished(self.start(call, *args, **kwargs))

    async def batched(self, items: Iterator[T]) -> AsyncIterator[T]:
        """What a blocking iterator gives, with one hop to a thread for a thousand items."""
        while batch := await self.run(lambda: list(islice(items, _ITEMS_AT_ONCE))):
            for item in batch:
                yield item


def _settle(done: "Future[T]", call: Callable[[], T]) -> None:
    try:
        result = call()
    except BaseException as error:
        done.set_exception(error)
    else:
        done.set_result(result)


async def finished(work: "asyncio.Future[T]") -> T:
    """The result of a thread's work. A cancellation is raised only once the thread is done with the
    file or the connection that the caller will now clean up."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        # The scope keeps anyio, which repeats a cancellation until it is obeyed, from spinning.
        with anyio.CancelScope(shield=True):
            while not work.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # seen, though not raised
        raise
