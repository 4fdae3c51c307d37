"""Memory budget of a worker: bytes that large requests and responses hold, by tenant and in all.

Bodies and responses of up to FREE_BYTES are not counted. Larger ones are reserved before they are
read or built, and released when the request ends.
"""

from collections.abc import Iterable

from app.kernel import request_context
from app.kernel.errors import TooLargeError
from app.kernel.fair_budget import FairBudget
from app.kernel.tenant import Tenant

FREE_BYTES = 64 << 10
# A tenant's budget has room for the largest body; a worker's for four tenants.
TENANT_BYTES = 40 << 20
WORKER_BYTES = 160 << 20

# How long a request waits for memory that others hold, in seconds.
WAIT_SECONDS = 3.0


class MemoryBudget:
    """Counts the bytes that requests hold; each request releases its bytes when it ends."""

    def __init__(
        self, *, tenant_bytes: int = TENANT_BYTES, worker_bytes: int = WORKER_BYTES
    ) -> None:
        self._tenant_bytes = tenant_bytes
        self._budget = FairBudget(worker_bytes, tenant_bytes, strict=True)

    @property
    def held(self) -> int:
        """The bytes that all requests hold now."""
        return self._budget.total_held

    async def hold(self, tenant: Tenant, size: int) -> None:
        """Reserve `size` more bytes for the current request, until it ends.

        Waits while the budget is exhausted. Raises UnavailableError after a few seconds of that,
        and TooLargeError for more than a tenant may hold at all. Outside a request, as in a
        command, nothing is counted.
        """
        request = request_context.current()
        if request is None or not size:
            return
        if size > self._tenant_bytes:
            raise TooLargeError(
                f"The request needs {size} bytes of memory, and a tenant's requests may hold"
                f" {self._tenant_bytes} at once: ask for less, or in pages"
            )
        await self._budget.acquire(tenant.slug, size, wait_seconds=WAIT_SECONDS)
        request.held_bytes += size
        request.on_end(lambda: self._budget.release(tenant.slug, size))

    async def hold_rows(self, tenant: Tenant, size: int) -> None:
        """`hold` for `size` bytes of rows: twice, as they are read and as they are serialized.

        Rows of more than half a tenant's budget reserve all of it.
        """
        if size > FREE_BYTES:
            await self.hold(tenant, max(size, min(2 * size, self._tenant_bytes)))

    async def hold_response(self, tenant: Tenant, size: int) -> None:
        """`hold` for a response of `size` bytes, less what the request holds already."""
        request = request_context.current()
        if request is not None and size > FREE_BYTES:
            await self.hold(tenant, max(0, min(size, self._tenant_bytes) - request.held_bytes))


def count_fitting(sizes: Iterable[int], limit: int, *, partial: bool = False) -> int:
    """How many leading items, of these sizes, fit within `limit` together.

    At least one, so that a page is never empty; with `partial` the page has items already, and
    the count may be 0.
    """
    total = count = 0
    for size in sizes:
        total += size
        if total > limit and (count or partial):
            break
        count += 1
    return count
