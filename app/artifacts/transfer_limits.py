"""Limits on transfers: how many run at once, and how long one may stall."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from app.kernel.errors import StalledError, UnavailableError
from app.kernel.tenant import Tenant

# Types of ASGI's `send`.
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

# A client that neither sends nor receives a byte for so long is considered gone. The total time of
# a transfer is not limited.
IDLE_SECONDS = 60.0

# Shorter than the 10 s for which MLflow's multipart download waits for an answer.
WAIT_SECONDS = 8.0


class TransferSlots:
    """Allows each tenant at most `per_tenant` transfers at once, in this process.

    This bounds the memory that one tenant can take, and leaves the store's threads to others.
    """

    def __init__(self, per_tenant: int = 32) -> None:
        self._per_tenant = per_tenant
        self._tenants: dict[str, asyncio.Semaphore] = {}

    async def take(self, tenant: str) -> "Slot":
        """Waits for a slot; the caller gives it back. Raises UnavailableError after 8 seconds."""
        semaphore = self._tenants.get(tenant)
        if semaphore is None:
            semaphore = self._tenants[tenant] = asyncio.Semaphore(self._per_tenant)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await semaphore.acquire()
        except TimeoutError as error:
            raise UnavailableError(
                f"The tenant has {self._per_tenant} transfers running, the maximum for a worker;"
                " try again shortly"
            ) from error
        return Slot(semaphore)

    def forget(self, tenant: Tenant) -> None:
        """Forgets a deleted tenant, whose transfers must not count for a new one of its slug."""
        self._tenants.pop(tenant.slug, None)

    @asynccontextmanager
    async def taken(self, tenant: str) -> AsyncIterator[None]:
        """Holds a slot. Raises as `take`."""
        slot = await self.take(tenant)
        try:
            yield
        finally:
            slot.give_back()


class Slot:
    """One of a tenant's transfers."""

    def __init__(self, semaphore: asyncio.Semaphore) -> None:
        self._semaphore: asyncio.Semaphore | None = semaphore

    def give_back(self) -> None:
        """Giving it back twice is no error."""
        semaphore, self._semaphore = self._semaphore, None
        if semaphore is not None:
            semaphore.release()


async def unless_stalled(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yields the body's chunks. Raises StalledError where the client sends nothing for 60 seconds.

    The time that the caller takes over a chunk does not count.
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
    """Wraps ASGI's `send`: raises StalledError where the client takes nothing for 60 seconds."""

    async def limited(message: Message) -> None:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                await send(message)
        except TimeoutError as error:
            raise StalledError(f"The client took nothing for {IDLE_SECONDS:g} seconds") from error

    return limited
