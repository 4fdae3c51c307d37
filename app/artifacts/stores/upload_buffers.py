"""Buffers for upload bodies, within memory budgets for each tenant and for the worker."""

import mmap
from collections.abc import Sequence

from app.kernel.fair_budget import FairBudget

Buffer = bytearray | mmap.mmap

# For one worker and one store. A tenant's first upload gets its buffer even where other tenants
# hold all of the budget.
_TOTAL_BYTES = 256 << 20
_TENANT_BYTES = 128 << 20

WAIT_SECONDS = 8.0


class UploadMemory:
    """The memory budget of all of a worker's uploads to one store."""

    def __init__(self, total: int = _TOTAL_BYTES, per_tenant: int = _TENANT_BYTES) -> None:
        self._budget = FairBudget(total, per_tenant)

    def of(self, tenant: str, sizes: Sequence[int]) -> "Buffers":
        return Buffers(self._budget, tenant, sizes)


class Buffers:
    """The buffers of one upload, all of the same size.

    `sizes` are tried from the largest on: the first for which there is spare memory is taken; where
    there is none, `first` waits for memory for the last size. `size` is set by `first`. An upload
    needs only one buffer and never waits for a second, so uploads can't deadlock. The async context
    manager releases all buffers.
    """

    def __init__(self, budget: FairBudget, tenant: str, sizes: Sequence[int]) -> None:
        self._budget = budget
        self._tenant = tenant
        self._sizes = sizes
        self.size = 0
        self.count = 0

    async def first(self) -> Buffer:
        """The first buffer. Raises UnavailableError where no memory is freed for 8 seconds."""
        for size in self._sizes:
            if self._budget.try_acquire_spare(self._tenant, size):
                break
        else:
            await self._budget.acquire(self._tenant, size, wait_seconds=WAIT_SECONDS)
        self.size = size
        return self._new()

    def another(self) -> Buffer | None:
        """Another buffer, where there is spare memory; else None."""
        if not self._budget.try_acquire_spare(self._tenant, self.size):
            return None
        return self._new()

    @property
    def scarce(self) -> bool:
        """Whether other uploads wait for memory that this one does not need."""
        return self._budget.contended(self._tenant)

    def drop(self) -> None:
        """Releases one buffer."""
        self.count -= 1
        self._budget.release(self._tenant, self.size)

    def _new(self) -> Buffer:
        self.count += 1
        # Large buffers are page-aligned, as O_DIRECT requires, and take no memory before they are
        # written to.
        return bytearray(self.size) if self.size < mmap.PAGESIZE else mmap.mmap(-1, self.size)

    async def __aenter__(self) -> "Buffers":
        return self

    async def __aexit__(self, *_: object) -> None:
        while self.count:
            self.drop()
