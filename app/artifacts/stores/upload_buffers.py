"""The memory in which bodies are gathered on their way into a store, and its bounds."""

import mmap
from collections.abc import Sequence

from app.kernel.fair_budget import FairBudget

Buffer = bytearray | mmap.mmap

# In one worker. A tenant's first upload gets its buffer also where others hold all of it.
_BYTES = 256 << 20
_BYTES_OF_TENANT = 128 << 20

WAIT_SECONDS = 8.0


class UploadMemory:
    """What all uploads of a worker to one store have for their buffers."""

    def __init__(self, total: int = _BYTES, per_tenant: int = _BYTES_OF_TENANT) -> None:
        self._budget = FairBudget(total, per_tenant)

    def of(self, tenant: str, sizes: Sequence[int]) -> "Buffers":
        return Buffers(self._budget, tenant, sizes)


class Buffers:
    """The buffers of one upload, all of one size: of `sizes`, from the largest on, the first for
    which there is memory to spare, or else the last, for which it waits.

    One is all that an upload has to have, so that uploads never wait for each other in a circle.
    `size` is known when the first was given. An async context manager, which ends with all of them.
    """

    def __init__(self, budget: FairBudget, tenant: str, sizes: Sequence[int]) -> None:
        self._budget = budget
        self._tenant = tenant
        self._sizes = sizes
        self.size = 0
        self.count = 0

    async def first(self) -> Buffer:
        """Raises UnavailableError where there is no memory for a while."""
        for size in self._sizes:
            if self._budget.try_acquire_spare(self._tenant, size):
                break
        else:
            await self._budget.acquire(self._tenant, size, wait_seconds=WAIT_SECONDS)
        self.size = size
        return self._new()

    def another(self) -> Buffer | None:
        """One more, where there is memory to spare."""
        if not self._budget.try_acquire_spare(self._tenant, self.size):
            return None
        return self._new()

    @property
    def scarce(self) -> bool:
        """Whether others wait for what this upload could do without."""
        return self._budget.contended(self._tenant)

    def drop(self) -> None:
        """One of them is no longer used."""
        self.count -= 1
        self._budget.release(self._tenant, self.size)

    def _new(self) -> Buffer:
        self.count += 1
        # Large ones start on a page, as direct writes to a disk want, and take no memory before
        # bytes come.
        return bytearray(self.size) if self.size < mmap.PAGESIZE else mmap.mmap(-1, self.size)

    async def __aenter__(self) -> "Buffers":
        return self

    async def __aexit__(self, *_: object) -> None:
        while self.count:
            self.drop()
