"""Connection shares: for any requests their bounds hold, and no request waits without need."""

import asyncio
import gc
import weakref
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.db.connection_shares import ConnectionShares
from app.kernel.errors import UnavailableError

Step = tuple[str, int, bool]
STEPS = st.lists(
    st.tuples(st.sampled_from(["come", "come", "go", "cancel"]), st.integers(0, 9), st.booleans()),
    max_size=60,
)


@dataclass(eq=False)
class Request:
    """A task that holds a connection until it is told to go."""

    tenant: str
    read_only: bool
    may_go: asyncio.Event = field(default_factory=asyncio.Event)
    holds: bool = False
    task: asyncio.Task[None] | None = None

    def start(self, shares: ConnectionShares) -> None:
        self.task = asyncio.create_task(self._run(shares))

    async def _run(self, shares: ConnectionShares) -> None:
        async with shares.connection(self.tenant, read_only=self.read_only):
            self.holds = True
            try:
                await self.may_go.wait()
            finally:
                self.holds = False


@dataclass
class Model:
    """The same rules, without a thought for speed."""

    size: int
    holding: list[Request] = field(default_factory=list)
    waiting: list[Request] = field(default_factory=list)

    def fits(self, request: Request) -> bool:
        def for_reads(connections: int) -> int:
            return connections if connections < 3 else connections - max(1, connections // 5)

        half = max(1, self.size // 2)
        mine = [one for one in self.holding if one.tenant == request.tenant]
        return (
            len(self.holding) < self.size
            and len(mine) < half
            and (
                not request.read_only
                or (
                    sum(one.read_only for one in self.holding) < for_reads(self.size)
                    and sum(one.read_only for one in mine) < for_reads(half)
                )
            )
        )

    def held(self, request: Request) -> int:
        return sum(one.tenant == request.tenant for one in self.holding)

    def admit(self) -> None:
        while fitting := [one for one in self.waiting if self.fits(one)]:
            chosen = min(fitting, key=self.held)  # of several, the first that came
            self.waiting.remove(chosen)
            self.holding.append(chosen)

    def come(self, request: Request) -> None:
        self.waiting.append(request)
        self.admit()

    def leave(self, request: Request) -> None:
        (self.holding if request in self.holding else self.waiting).remove(request)
        self.admit()


async def settled() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


@given(size=st.integers(1, 12), tenants=st.integers(1, 4), steps=STEPS, together=st.booleans())
@settings(max_examples=300, deadline=None)
async def test_agrees_with_a_model(
    size: int, tenants: int, steps: list[Step], together: bool
) -> None:
    """`together`: what follows a request's leaving happens before others can notice that they were
    let in, so that some are cancelled that have a connection and do not know it."""
    shares, model = ConnectionShares(size, wait_seconds=60), Model(size)
    for action, number, flag in steps:
        if action == "come":
            new = Request(f"tenant {number % tenants}", flag)
            new.start(shares)
            await settled()  # a task that never ran has never asked
            model.come(new)
        else:
            some = model.waiting if action == "cancel" and flag else model.holding
            if not some:
                continue
            request = some[number % len(some)]
            assert request.task is not None
            if action == "go" and request.holds:
                request.may_go.set()
                if together:
                    await asyncio.sleep(0)
            else:
                request.task.cancel()
            model.leave(request)
        if not together:
            await settled()
            assert {one for one in model.holding if one.holds} == set(model.holding)
            assert not any(one.holds for one in model.waiting)
            assert shares.waiting == len(model.waiting)
    await settled()
    assert all(one.holds for one in model.holding)
    assert not any(one.holds for one in model.waiting)
    everyone = model.holding + model.waiting
    for one in everyone:
        one.may_go.set()
    await asyncio.gather(*(one.task for one in everyone if one.task))
    assert shares.waiting == 0
    await all_may_be_held(shares, size)


async def held(shares: ConnectionShares, stack: AsyncExitStack, *wanted: tuple[str, bool]) -> None:
    for tenant, read_only in wanted:
        await stack.enter_async_context(shares.connection(tenant, read_only=read_only))


READ, WRITE = True, False


class Name(str):
    """A tenant's, of which a weak reference tells when nobody has it any more."""


async def all_may_be_held(shares: ConnectionShares, size: int) -> None:
    """Nothing is counted as held: all connections are had by tenants that write, and all that
    reads may have by tenants that read."""
    reads = size - max(1, size // 5) if size > 2 else size
    for read_only, count in ((WRITE, size), (READ, reads)):
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(1):
                await held(shares, stack, *((f"new {n}", read_only) for n in range(count)))


async def test_what_ten_may_hold() -> None:
    """Of one tenant four reads and a write; of all, eight reads."""
    shares = ConnectionShares(10, wait_seconds=0.01)
    async with AsyncExitStack() as stack:
        await held(shares, stack, *[("a", READ)] * 4)
        with pytest.raises(UnavailableError, match="connections are busy"):
            await held(shares, stack, ("a", READ))
        await held(shares, stack, ("a", WRITE))
        with pytest.raises(UnavailableError):
            await held(shares, stack, ("a", WRITE))
        await held(shares, stack, *[("b", READ)] * 4)
        with pytest.raises(UnavailableError):
            await held(shares, stack, ("c", READ))
        await held(shares, stack, ("c", WRITE))
        with pytest.raises(UnavailableError):
            await held(shares, stack, ("d", WRITE))  # all ten are in use


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("read_only", [READ, WRITE])
async def test_small_pools_serve_one_by_one(size: int, read_only: bool) -> None:
    shares = ConnectionShares(size, wait_seconds=60)
    under_way = 0

    async def work(tenant: str) -> None:
        nonlocal under_way
        async with shares.connection(tenant, read_only=read_only):
            under_way += 1
            assert under_way <= size
            await asyncio.sleep(0)
            under_way -= 1

    await asyncio.gather(*(work(tenant) for tenant in "aabbcc" * 20))
    assert shares.waiting == 0


async def test_a_tenant_that_floods_does_not_make_another_queue() -> None:
    """One that comes later is served before all that the other has waiting."""
    shares = ConnectionShares(4, wait_seconds=60)
    served: list[str] = []

    async def work(tenant: str) -> None:
        async with shares.connection(tenant, read_only=READ):
            served.append(tenant)
            await asyncio.sleep(0)

    flood = [asyncio.create_task(work("flood")) for _ in range(50)]
    others = [asyncio.create_task(work(f"other {n % 2}")) for n in range(8)]
    await asyncio.gather(*flood, *others)
    last = max(place for place, tenant in enumerate(served) if tenant != "flood")
    assert last < 3 * len(others)


async def test_who_is_gone_when_its_turn_comes_is_passed_over() -> None:
    """It was cancelled just before the connection came back, and had no time to leave the queue."""
    shares = ConnectionShares(1, wait_seconds=60)
    holder, gone, patient = (Request("a", READ) for _ in range(3))
    for one in (holder, gone, patient):
        one.start(shares)
        await settled()
    assert gone.task
    holder.may_go.set()
    gone.task.cancel()
    await settled()
    assert patient.holds
    assert shares.waiting == 0


async def test_who_gave_up_leaves_no_trace() -> None:
    """Their places are free for those that come later; nobody is let in who is not there."""
    shares = ConnectionShares(2, wait_seconds=0.01)
    async with AsyncExitStack() as stack:
        await held(shares, stack, ("a", READ))
        answers = await asyncio.gather(
            *(held(shares, stack, ("a", flag)) for flag in (READ, WRITE) * 5),
            return_exceptions=True,
        )
        assert {type(answer) for answer in answers} == {UnavailableError}
        assert shares.waiting == 0
    async with AsyncExitStack() as stack:
        await held(shares, stack, ("a", WRITE), ("b", WRITE))


async def test_nothing_is_kept_of_tenants_that_are_gone() -> None:
    shares = ConnectionShares(2, wait_seconds=0.01)

    async def come_and_go() -> weakref.ref[Name]:
        name = Name("a")
        async with shares.connection(name, read_only=READ):
            (refused,) = await asyncio.gather(
                held(shares, AsyncExitStack(), (name, READ)), return_exceptions=True
            )
            assert isinstance(refused, UnavailableError)
        return weakref.ref(name)

    kept = await come_and_go()
    await asyncio.sleep(0.001)  # the event loop has the last handle that it ran until the next one
    gc.collect()
    assert kept() is None
