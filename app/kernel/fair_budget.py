"""Something that there is only so much of in a worker, shared fairly by tenants."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.kernel.errors import UnavailableError


class FairBudget:
    """An amount of which each tenant may hold a part.

    Who waits is served in the order of asking within a tenant, and tenants in turn. A tenant that
    holds nothing gets what it asks for at once, also where others hold all: what is held in excess
    of `total` is one piece a tenant. Not so where it is `strict`: then that is never exceeded.
    """

    def __init__(self, total: int, per_tenant: int, *, strict: bool = False) -> None:
        self._total = total
        self._per_tenant = per_tenant
        self._strict = strict
        self._held: Counter[str] = Counter()
        self._in_all = 0
        self._waiting: dict[str, deque[tuple[int, asyncio.Future[None]]]] = {}

    @property
    def held_in_all(self) -> int:
        return self._in_all

    def take_spare(self, tenant: str, amount: int) -> bool:
        """Take what can be done without: it leaves half of all, and of the tenant's part, to those
        that come."""
        spare = (
            tenant not in self._waiting
            and self._held[tenant] + amount <= self._per_tenant // 2
            and self._in_all + amount <= self._total // 2
        )
        if spare:
            self._take(tenant, amount)
        return spare

    def scarce(self, tenant: str) -> bool:
        """Whether somebody waits for what the tenant holds."""
        if self._in_all > self._total // 2:
            return bool(self._waiting)
        return tenant in self._waiting

    async def take(self, tenant: str, amount: int, *, seconds: float | None = None) -> None:
        """Wait for an amount, which the caller gives back. Raises UnavailableError after so many
        seconds, if that is given."""
        if tenant not in self._waiting and self._fits(tenant, amount):
            self._take(tenant, amount)
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append((amount, granted))
        try:
            async with asyncio.timeout(seconds):
                await granted
        except BaseException as error:
            if granted.done() and not granted.cancelled():
                self.give_back(tenant, amount)
            else:
                self._serve()  # the one behind may be in for less
            if isinstance(error, TimeoutError):
                raise UnavailableError(
                    "The tenant's other requests hold all that a worker has for them; try again"
                    " shortly"
                ) from error
            raise

    @asynccontextmanager
    async def held(self, tenant: str, amount: int) -> AsyncIterator[None]:
        await self.take(tenant, amount)
        try:
            yield
        finally:
            self.give_back(tenant, amount)

    def give_back(self, tenant: str, amount: int) -> None:
        self._held[tenant] -= amount
        self._in_all -= amount
        if not self._held[tenant]:
            del self._held[tenant]
        self._serve()

    def _fits(self, tenant: str, amount: int) -> bool:
        held = self._held[tenant]
        within = held + amount <= self._per_tenant and self._in_all + amount <= self._total
        return within or not (held or self._strict)

    def _take(self, tenant: str, amount: int) -> None:
        self._held[tenant] += amount
        self._in_all += amount

    def _serve(self) -> None:
        while (tenant := self._whose_turn()) is not None:
            amount, granted = self._waiting[tenant].popleft()
            waiting = self._waiting.pop(tenant)
            self._waiting[tenant] = waiting  # behind the others
            self._take(tenant, amount)
            granted.set_result(None)

    def _whose_turn(self) -> str | None:
        for tenant, waiting in list(self._waiting.items()):
            while waiting and waiting[0][1].done():  # gave up
                waiting.popleft()
            if not waiting:
                del self._waiting[tenant]
            elif self._fits(tenant, waiting[0][0]):
                return tenant
        return None
