"""Reading of request bodies that are held in memory as a whole, with limits on size and time."""

import asyncio
from collections.abc import Callable, Mapping

from starlette.types import Receive

from app.api.headers import content_length
from app.kernel.errors import InvalidValueError, StalledError, TooLargeError, TrackingError
from app.kernel.memory_budget import FREE_BYTES, MemoryBudget
from app.kernel.tenant import Tenant

# The default limit; only a few requests need more.
MAX_BODY_BYTES = 1 << 20

# A body must arrive within ARRIVAL_SECONDS, and one second more for each ARRIVAL_BYTES_PER_SECOND
# of its size.
ARRIVAL_SECONDS = 60.0
ARRIVAL_BYTES_PER_SECOND = 64 << 10

# A growing body reserves memory in steps of this size.
_STEP_BYTES = 256 << 10


def too_large(limit: int, size: int) -> TrackingError:
    """The default error for a body of `size` bytes, or more, with a limit of `limit` bytes."""
    return TooLargeError(f"A request body may have at most {limit} bytes, got {size}.")


async def read_body(
    receive: Receive,
    headers: Mapping[str, str],
    limit: int,
    memory: MemoryBudget,
    tenant: Tenant,
    *,
    over_limit: Callable[[int, int], TrackingError] = too_large,
) -> bytes:
    """The whole body, which may have `limit` bytes.

    Raises the error that `over_limit` makes of the limit and the size, as soon as the size is known
    to exceed the limit; StalledError for a body that arrives too slowly; UnavailableError when
    the memory budget has no room for it; InvalidValueError for a body that is cut off.
    """
    declared = content_length(headers)
    if declared is not None and declared > limit:
        raise over_limit(limit, declared)
    event = await receive()
    first: bytes = event.get("body", b"")
    if event["type"] == "http.request" and not event.get("more_body"):
        if len(first) <= FREE_BYTES:  # nearly all
            if len(first) > limit:
                raise over_limit(limit, len(first))
            return first
    elif event["type"] == "http.disconnect":
        raise _cut_off()
    body = _Body(limit, memory, tenant, over_limit)
    await body.add(first)
    seconds = ARRIVAL_SECONDS + (declared or limit) / ARRIVAL_BYTES_PER_SECOND
    try:
        async with asyncio.timeout(seconds):
            while event.get("more_body"):
                event = await receive()
                if event["type"] == "http.disconnect":
                    raise _cut_off()
                await body.add(event.get("body", b""))
    except TimeoutError as error:
        raise StalledError(f"The request body did not arrive within {seconds:g} seconds") from error
    return b"".join(body.chunks)


class _Body:
    """The chunks that have arrived, and the memory that is reserved for them."""

    def __init__(
        self,
        limit: int,
        memory: MemoryBudget,
        tenant: Tenant,
        over_limit: Callable[[int, int], TrackingError],
    ) -> None:
        self.chunks: list[bytes] = []
        self._limit = limit
        self._memory = memory
        self._tenant = tenant
        self._over_limit = over_limit
        self._size = 0
        self._held = FREE_BYTES

    async def add(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self._limit:
            raise self._over_limit(self._limit, self._size)
        if self._size > self._held:
            more = min(max(_STEP_BYTES, self._size - self._held), self._limit - self._held)
            await self._memory.hold(self._tenant, more)
            self._held += more
        self.chunks.append(chunk)


def _cut_off() -> InvalidValueError:
    return InvalidValueError("The request was cut off")
