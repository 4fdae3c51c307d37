"""Turns on the event loop: CPU-heavy work runs in slices, one at a time, tenants round-robin."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.kernel.fair_budget import FairBudget
from app.kernel.tenant import Tenant


class EventLoopTurns:
    """A lock for work that occupies the event loop: tenants that wait get it in turn.

    Between two turns the event loop runs the tasks that are ready. A turn should take some
    milliseconds at most.
    """

    def __init__(self) -> None:
        self._turn = FairBudget(1, 1, strict=True)

    @asynccontextmanager
    async def turn(self, tenant: Tenant) -> AsyncIterator[None]:
        """Hold the turn. The body must not await anything."""
        async with self._turn.held(tenant.slug, 1):
            try:
                yield
            finally:
                await asyncio.sleep(0)  # tasks that are ready by now run before the next turn
