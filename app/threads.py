"""Threads for what blocks, and how the event loop waits for them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import ParamSpec, TypeVar

import anyio

_ITEMS_AT_ONCE = 1000

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """A few threads of their owner's own, so that a slow disk or network doesn't starve the rest of
    the process. One is held for a piece of work, never while a client sends or receives."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="blocking")

    def start(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[T]":
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._pool, partial(call, *args, **kwargs))

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await finished(self.start(call, *args, **kwargs))

    async def close(self) -> None:
        await asyncio.to_thread(self._pool.shutdown)


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


async def batched(threads: Threads, items: Iterator[T]) -> AsyncIterator[T]:
    """What a blocking iterator gives, with one hop to a thread for a thousand items."""
    while batch := await threads.run(lambda: list(islice(items, _ITEMS_AT_ONCE))):
        for item in batch:
            yield item
