"""What the requests of all tenants share within one worker: its memory, and its event loop.

A small request is free of both. What is large, a body on its way in or an answer on its way out,
is held against a budget of its tenant and of the worker; and what takes the event loop more than a
moment is done in slices, one at a time in the whole worker, with tenants in turn.
"""

import asyncio
import ctypes
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from app.errors import TooLargeError, UnavailableError
from app.operations import context
from app.tenancy.tenant import Tenant

# A body or an answer of up to so many bytes is not counted.
FREE_BYTES = 64 << 10
# One tenant may hold a quarter of what the worker may. The first is more than the largest body.
TENANT_BYTES = 40 << 20
WORKER_BYTES = 160 << 20

# How long a request waits for memory that others hold, in seconds.
_PATIENCE = 3.0


@dataclass(slots=True, eq=False)
class _Waiting:
    tenant: int
    size: int
    granted: "asyncio.Future[None]"


class Memory:
    """The bytes that requests hold: each until it is answered, and its client has the answer."""

    def __init__(
        self, *, tenant_bytes: int = TENANT_BYTES, worker_bytes: int = WORKER_BYTES
    ) -> None:
        self._tenant_bytes = tenant_bytes
        self._worker_bytes = worker_bytes
        self._held: dict[int, int] = {}
        self._total = 0
        self._waiting: deque[_Waiting] = deque()

    @property
    def held(self) -> int:
        """The bytes that all requests hold now."""
        return self._total

    async def hold(self, tenant: Tenant, size: int) -> None:
        """Let the current request hold so many bytes more, until it ends.

        Waits while too much is held; raises UnavailableError where that takes long, TooLargeError
        for more than a tenant may ever hold. What is done outside of a request, by a command, is
        not counted.
        """
        request = context.current()
        if request is None or not size:
            return
        if size > self._tenant_bytes:
            raise TooLargeError(
                f"What was asked for takes {size} bytes, and a tenant's requests may hold"
                f" {self._tenant_bytes} at once: ask for less, or in pages"
            )
        if self._waiting or not self._fits(tenant.id, size):
            await self._wait(tenant.id, size)
        else:
            self._take(tenant.id, size)
        request.held += size
        request.at_end(lambda: self._give_back(tenant.id, size))

    async def hold_answer(self, tenant: Tenant, size: int) -> None:
        """As `hold`, for an answer of that size, which may be what the request holds already."""
        request = context.current()
        if request is not None and size > FREE_BYTES:
            await self.hold(tenant, max(0, size - request.held))

    def _fits(self, tenant: int, size: int) -> bool:
        return (
            self._total + size <= self._worker_bytes
            and self._held.get(tenant, 0) + size <= self._tenant_bytes
        )

    def _take(self, tenant: int, size: int) -> None:
        self._held[tenant] = self._held.get(tenant, 0) + size
        self._total += size

    async def _wait(self, tenant: int, size: int) -> None:
        waiting = _Waiting(tenant, size, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._grant()  # others may wait for a tenant that holds too much, and this one not
        try:
            async with asyncio.timeout(_PATIENCE):
                await waiting.granted
        except BaseException as error:
            if waiting.granted.done() and not waiting.granted.cancelled():
                self._give_back(tenant, size)  # granted while it was being cancelled
            else:
                self._waiting.remove(waiting)
            if isinstance(error, TimeoutError):
                raise UnavailableError(
                    "Requests hold as much memory as they may; try again shortly"
                ) from error
            raise

    def _give_back(self, tenant: int, size: int) -> None:
        self._total -= size
        left = self._held[tenant] - size
        if left:
            self._held[tenant] = left
        else:
            del self._held[tenant]
        self._grant()

    def _grant(self) -> None:
        """Give to those that wait, in their order, what there is room for now."""
        still: deque[_Waiting] = deque()
        while self._waiting:
            waiting = self._waiting.popleft()
            if waiting.granted.done() or not self._fits(waiting.tenant, waiting.size):
                still.append(waiting)
                continue
            self._take(waiting.tenant, waiting.size)
            waiting.granted.set_result(None)
        self._waiting = still


class Turns:
    """One piece of work on the event loop at a time, tenants in turn.

    Between two pieces the loop serves what is ready. A piece should take some milliseconds.
    """

    def __init__(self) -> None:
        self._busy = False
        self._waiting: OrderedDict[int, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, tenant: Tenant) -> AsyncIterator[None]:
        """The caller's turn; nothing is to be awaited in it."""
        if self._busy:
            await self._wait(tenant.id)
        self._busy = True
        try:
            yield
        finally:
            try:
                await asyncio.sleep(0)  # what is ready by now goes before the next one
            finally:
                self._pass_on()

    async def _wait(self, tenant: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()  # it came while this one was being cancelled
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            tenant, queue = self._waiting.popitem(last=False)
            turn = queue.popleft()
            if queue:
                self._waiting[tenant] = queue  # behind the other tenants
            if not turn.done():
                turn.set_result(None)
                return
        self._busy = False


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
