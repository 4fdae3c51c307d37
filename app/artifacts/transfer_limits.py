"""Limits on transfers: how many at once, and how long one may stand still."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from app.kernel.errors import StalledError, UnavailableError
from app.kernel.tenant import Tenant

# What ASGI has to send an answer with.
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

# A client that neither sends nor takes a byte for so long is gone. Size and speed don't matter.
IDLE_SECONDS = 60.0

# Shorter than the 10 s for which MLflow's multipart download waits for an answer.
WAIT_SECONDS = 8.0


class TransferSlots:
    """At most so many transfers of each tenant at once, in this process.

    They bound the memory that one tenant can take, and leave the store's threads to others.
    """

    def __init__(self, per_tenant: int = 32) -> None:
        self._per_tenant = per_tenant
        self._tenants: dict[str, asyncio.Semaphore] = {}

    async def take(self, tenant: str) -> "Slot":
        """Wait for a slot, which the caller gives back. Raises UnavailableError after a while."""
        semaphore = self._tenants.get(tenant)
        if semaphore is None:
            semaphore = self._tenants[tenant] = asyncio.Semaphore(self._per_tenant)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await semaphore.acquire()
        except TimeoutError as error:
            raise UnavailableError(
                f"{self._per_tenant} transfers of the tenant are going on at once, which is all"
                " that a worker carries; try again shortly"
            ) from error
        return Slot(semaphore)

    def forget(self, tenant: Tenant) -> None:
        """Whoever gets the slug of a tenant that is no more does not wait for its transfers."""
        self._tenants.pop(tenant.slug, None)

    @asynccontextmanager
    async def taken(self, tenant: str) -> AsyncIterator[None]:
        slot = await self.take(tenant)
        try:
            yield
        finally:
            slot.give_back()


class Slot:
    def __init__(self, semaphore: asyncio.Semaphore) -> None:
        self._semaphore: asyncio.Semaphore | None = semaphore

    def give_back(self) -> None:
        """Doing so twice is no error."""
        semaphore, self._semaphore = self._semaphore, None
        if semaphore is not None:
            semaphore.release()


async def unless_stalled(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The body, for as long as it goes on. Raises StalledError when it doesn't.

    Only the wait for the client counts, not what the caller does with a chunk.
    """
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                chunk = await anext(body)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise StalledError(
                f"No byte of the request body arrived for {IDLE_SECONDS:g} seconds"
            ) from error
        yield chunk


def unless_stalled_sending(send: Send) -> Send:
    """`send` for as long as the client takes what it gets. Raises StalledError when it doesn't."""

    async def limited(message: Message) -> None:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                await send(message)
        except TimeoutError as error:
            raise StalledError(f"The client took nothing for {IDLE_SECONDS:g} seconds") from error

    return limited
