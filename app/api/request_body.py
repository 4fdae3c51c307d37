"""Reading of JSON bodies, which are held in memory as a whole, with limits on size and time.

A limit is on the bytes of the JSON without escapes: Python's encoder writes six bytes for a
character of Chinese, which has three in UTF-8, and twelve for an emoji, which has four.
"""

import asyncio
import json
from collections.abc import Callable, Mapping

from starlette.types import Receive

from app.api.headers import content_length
from app.kernel.errors import InvalidValueError, StalledError, TooLargeError, TrackingError
from app.kernel.memory_budget import FREE_BYTES, MemoryBudget
from app.kernel.tenant import Tenant

# The default limit; only a few requests need more.
MAX_BODY_BYTES = 1 << 20

# As sent, a body may be as many times its limit: no escape is longer for a byte of what it stands
# for. A tenant's memory budget has room for MAX_SENT_BYTES.
_BYTES_OF_AN_ESCAPE = 6
MAX_SENT_BYTES = 32 << 20

OverLimit = Callable[[int, int], TrackingError]
"""Makes the error for a body, of its limit and its size."""

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
    over_limit: OverLimit = too_large,
) -> bytes:
    """The whole body, which may have `limit` bytes without escapes: `check_decoded` checks those.

    Raises the error of `over_limit` as soon as the body has too many bytes with any escapes;
    StalledError for one that arrives too slowly; UnavailableError when the memory budget has no
    room for it; InvalidValueError for a body that is cut off.
    """
    declared = content_length(headers)
    if declared is not None and declared > limit and declared > _max_sent(limit):
        raise over_limit(limit, declared)
    event = await receive()
    first: bytes = event.get("body", b"")
    if event["type"] == "http.request" and not event.get("more_body"):
        if len(first) <= FREE_BYTES:  # nearly all
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
        over_limit: OverLimit,
    ) -> None:
        self.chunks: list[bytes] = []
        self._limit = limit
        self._max_sent = _max_sent(limit)
        self._memory = memory
        self._tenant = tenant
        self._over_limit = over_limit
        self._size = 0
        self._held = FREE_BYTES

    async def add(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self._max_sent:
            raise self._over_limit(self._limit, self._size)
        if self._size > self._held:
            more = min(max(_STEP_BYTES, self._size - self._held), self._max_sent - self._held)
            await self._memory.hold(self._tenant, more)
            self._held += more
        self.chunks.append(chunk)


def check_decoded(body: bytes, limit: int, over_limit: OverLimit) -> None:
    """Raises the error of `over_limit` for more than `limit` bytes of JSON without escapes.

    A body is decoded for that only if it is longer as sent, and has as many escapes as it needs.
    """
    if len(body) <= limit:
        return
    saved = body.count(b"\\") + (_BYTES_OF_AN_ESCAPE - 2) * body.count(b"\\u")
    if len(body) - saved > limit:
        raise over_limit(limit, len(body))
    try:
        text = json.dumps(json.loads(body), ensure_ascii=False, separators=(",", ":"))
        size = len(text.encode(errors="surrogatepass"))
    except (ValueError, RecursionError):
        size = len(body)
    if size > limit:
        raise over_limit(limit, size)


def _max_sent(limit: int) -> int:
    """The most bytes of a body as sent, with any escapes."""
    return max(limit, min(_BYTES_OF_AN_ESCAPE * limit, MAX_SENT_BYTES))


def _cut_off() -> InvalidValueError:
    return InvalidValueError("The request was cut off")
