"""What the requests of all tenants share within one worker: its memory, and its event loop.

A small request is free of both. What is large, a body on its way in or an answer on its way out,
is held against a budget of its tenant and of the worker; and what takes the event loop more than a
moment is done in slices, one at a time in the whole worker, with tenants in turn.
"""

import asyncio
import ctypes
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from app.kernel import request_context
from app.kernel.errors import TooLargeError
from app.kernel.fair_budget import FairBudget
from app.kernel.tenant import Tenant

# A body or an answer of up to so many bytes is not counted.
FREE_BYTES = 64 << 10
# One tenant may hold a quarter of what the worker may. The first is more than the largest body.
TENANT_BYTES = 40 << 20
WORKER_BYTES = 160 << 20

# How long a request waits for memory that others hold, in seconds.
_PATIENCE = 3.0


class Memory:
    """The bytes that requests hold: each until it is answered, and its client has the answer."""

    def __init__(
        self, *, tenant_bytes: int = TENANT_BYTES, worker_bytes: int = WORKER_BYTES
    ) -> None:
        self._tenant_bytes = tenant_bytes
        self._budget = FairBudget(worker_bytes, tenant_bytes, strict=True)

    @property
    def held(self) -> int:
        """The bytes that all requests hold now."""
        return self._budget.held_in_all

    async def hold(self, tenant: Tenant, size: int) -> None:
        """Let the current request hold so many bytes more, until it ends.

        Waits while too much is held; raises UnavailableError where that takes long, TooLargeError
        for more than a tenant may ever hold. What is done outside of a request, by a command, is
        not counted.
        """
        request = request_context.current()
        if request is None or not size:
            return
        if size > self._tenant_bytes:
            raise TooLargeError(
                f"What was asked for takes {size} bytes, and a tenant's requests may hold"
                f" {self._tenant_bytes} at once: ask for less, or in pages"
            )
        await self._budget.take(tenant.slug, size, seconds=_PATIENCE)
        request.held += size
        request.at_end(lambda: self._budget.give_back(tenant.slug, size))

    async def hold_read(self, tenant: Tenant, size: int) -> None:
        """As `hold`, for so many bytes of rows: once as they are read, and once as they are sent.

        What is more than half of all that a tenant may hold takes all of it.
        """
        if size > FREE_BYTES:
            await self.hold(tenant, max(size, min(2 * size, self._tenant_bytes)))

    async def hold_answer(self, tenant: Tenant, size: int) -> None:
        """As `hold`, for an answer of that size, which may be what the request holds already."""
        request = request_context.current()
        if request is not None and size > FREE_BYTES:
            await self.hold(tenant, max(0, min(size, self._tenant_bytes) - request.held))


class Turns:
    """One piece of work on the event loop at a time, tenants in turn.

    Between two pieces the loop serves what is ready. A piece should take some milliseconds.
    """

    def __init__(self) -> None:
        self._turn = FairBudget(1, 1, strict=True)

    @asynccontextmanager
    async def turn(self, tenant: Tenant) -> AsyncIterator[None]:
        """The caller's turn; nothing is to be awaited in it."""
        async with self._turn.held(tenant.slug, 1):
            try:
                yield
            finally:
                await asyncio.sleep(0)  # what is ready by now goes before the next one


@dataclass(frozen=True, slots=True)
class Sharing:
    """One per worker."""

    memory: Memory = field(default_factory=Memory)
    turns: Turns = field(default_factory=Turns)


# Of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def return_large_blocks() -> None:
    """Have the memory of large blocks go back to the system once they are freed.

    glibc keeps what it once had for a large block, for the next one as large: after a burst of long
    answers that is all of their memory. Other C libraries return it by themselves.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 256 << 10)
        mallopt(_M_TRIM_THRESHOLD, 4 << 20)


def fitting(sizes: Iterable[int], most: int, *, some: bool = False) -> int:
    """How many of the first, of these sizes, are no more than `most` together; one at least, unless
    there are `some` already."""
    total = count = 0
    for size in sizes:
        total += size
        if total > most and (count or some):
            break
        count += 1
    return count
