"""Bodies that are held in memory as a whole: how large they may be, and how slow."""

import asyncio
from collections.abc import Callable, Mapping

from starlette.types import Receive

from app.api.headers import content_length
from app.kernel.errors import InvalidValueError, StalledError, TooLargeError, TrackingError
from app.kernel.memory_budget import FREE_BYTES, MemoryBudget
from app.kernel.tenant import Tenant

# What a body may have that no protocol needs to be larger.
MAX_BODY_BYTES = 1 << 20

# A body that does not come at once has so many seconds, and one more for each so many bytes.
_SECONDS = 60.0
_BYTES_PER_SECOND = 64 << 10

# How much memory a growing body asks for at once.
_STEP_BYTES = 256 << 10


def too_large(limit: int, size: int) -> TrackingError:
    return TooLargeError(f"A request body may have at most {limit} bytes, got {size}.")


async def read_body(
    receive: Receive,
    headers: Mapping[str, str],
    limit: int,
    memory: MemoryBudget,
    tenant: Tenant,
    *,
    refusal: Callable[[int, int], TrackingError] = too_large,
) -> bytes:
    """The body, refused as soon as it is known to be over `limit` bytes.

    Raises `refusal` of the limit and the size for that, StalledError for a client that takes long,
    UnavailableError where there is no memory for it, InvalidValueError where it is cut off.
    """
    declared = content_length(headers)
    if declared is not None and declared > limit:
        raise refusal(limit, declared)
    event = await receive()
    first: bytes = event.get("body", b"")
    if event["type"] == "http.request" and not event.get("more_body"):
        if len(first) <= FREE_BYTES:  # nearly all
            if len(first) > limit:
                raise refusal(limit, len(first))
            return first
    elif event["type"] == "http.disconnect":
        raise _cut_off()
    body = _Body(limit, memory, tenant, refusal)
    await body.add(first)
    seconds = _SECONDS + (declared or limit) / _BYTES_PER_SECOND
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
    def __init__(
        self,
        limit: int,
        memory: MemoryBudget,
        tenant: Tenant,
        refusal: Callable[[int, int], TrackingError],
    ) -> None:
        self.chunks: list[bytes] = []
        self._limit = limit
        self._memory = memory
        self._tenant = tenant
        self._refusal = refusal
        self._size = 0
        self._held = FREE_BYTES

    async def add(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self._limit:
            raise self._refusal(self._limit, self._size)
        if self._size > self._held:
            more = min(max(_STEP_BYTES, self._size - self._held), self._limit - self._held)
            await self._memory.hold(self._tenant, more)
            self._held += more
        self.chunks.append(chunk)


def _cut_off() -> InvalidValueError:
    return InvalidValueError("The request was cut off")
