"""Fair budget: a fixed amount of a worker's resource, shared by tenants and granted round-robin."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.kernel.errors import UnavailableError


class FairBudget:
    """A semaphore over amounts with a limit for each tenant and one for all (`total`).

    Requests of a tenant are served first come, first served; tenants that wait are served
    round-robin. A tenant that holds nothing is granted its first request at once, even if the
    budget is used up: `total` can be exceeded by one request of each tenant. With `strict` it is
    never exceeded.
    """

    def __init__(self, total: int, per_tenant: int, *, strict: bool = False) -> None:
        self._total = total
        self._per_tenant = per_tenant
        self._strict = strict
        self._held: Counter[str] = Counter()
        self._total_held = 0
        self._waiting: dict[str, deque[tuple[int, asyncio.Future[None]]]] = {}

    @property
    def total_held(self) -> int:
        """The amount that all tenants hold now."""
        return self._total_held

    def try_acquire_spare(self, tenant: str, amount: int) -> bool:
        """Acquire without waiting, for an optional use; whether it was granted.

        Granted only while half of the total, and of the tenant's limit, stays free for others.
        """
        spare = (
            tenant not in self._waiting
            and self._held[tenant] + amount <= self._per_tenant // 2
            and self._total_held + amount <= self._total // 2
        )
        if spare:
            self._grant(tenant, amount)
        return spare

    def contended(self, tenant: str) -> bool:
        """Whether a request waits for what the tenant holds."""
        if self._total_held > self._total // 2:
            return bool(self._waiting)
        return tenant in self._waiting

    async def acquire(self, tenant: str, amount: int, *, wait_seconds: float | None = None) -> None:
        """Wait until the amount is granted; the caller must `release` it.

        Raises UnavailableError after `wait_seconds`; None waits without a limit.
        """
        if tenant not in self._waiting and self._fits(tenant, amount):
            self._grant(tenant, amount)
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append((amount, granted))
        try:
            async with asyncio.timeout(wait_seconds):
                await granted
        except BaseException as error:
            if granted.done() and not granted.cancelled():
                self.release(tenant, amount)
            else:
                self._serve_waiting()  # the next in line may need less
            if isinstance(error, TimeoutError):
                raise UnavailableError(
                    "The tenant's other requests hold all that a worker has for them; try again"
                    " shortly"
                ) from error
            raise

    @asynccontextmanager
    async def held(self, tenant: str, amount: int) -> AsyncIterator[None]:
        """Hold the amount for as long as the context lasts."""
        await self.acquire(tenant, amount)
        try:
            yield
        finally:
            self.release(tenant, amount)

    def release(self, tenant: str, amount: int) -> None:
        """Return an amount that was granted, and grant it to requests that wait."""
        self._held[tenant] -= amount
        self._total_held -= amount
        if not self._held[tenant]:
            del self._held[tenant]
        self._serve_waiting()

    def _fits(self, tenant: str, amount: int) -> bool:
        held = self._held[tenant]
        within = held + amount <= self._per_tenant and self._total_held + amount <= self._total
        return within or not (held or self._strict)

    def _grant(self, tenant: str, amount: int) -> None:
        self._held[tenant] += amount
        self._total_held += amount

    def _serve_waiting(self) -> None:
        while (tenant := self._next_tenant()) is not None:
            amount, granted = self._waiting[tenant].popleft()
            queue = self._waiting.pop(tenant)
            self._waiting[tenant] = queue  # the dictionary's end is the end of the round
            self._grant(tenant, amount)
            granted.set_result(None)

    def _next_tenant(self) -> str | None:
        """The tenant, in the round's order, whose first request fits; None if there is none."""
        for tenant, queue in list(self._waiting.items()):
            while queue and queue[0][1].done():  # cancelled or timed out
                queue.popleft()
            if not queue:
                del self._waiting[tenant]
            elif self._fits(tenant, queue[0][0]):
                return tenant
        return None
