"""A budget that tenants share: its bounds, and who is served when there is little left."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kernel.errors import UnavailableError
from app.kernel.fair_budget import FairBudget


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class TestBounds:
    async def test_of_a_tenant(self) -> None:
        budget = FairBudget(100, 30)
        await budget.acquire("a", 20)
        with pytest.raises(UnavailableError, match="try again shortly"):
            await budget.acquire("a", 11, wait_seconds=0.01)
        await budget.acquire("a", 10)
        await budget.acquire("b", 30)

    async def test_a_first_piece_is_never_refused(self) -> None:
        """Also where others hold all, or it is more than a tenant's part."""
        budget = FairBudget(100, 60)
        await budget.acquire("a", 60)
        await budget.acquire("b", 40)
        await budget.acquire("c", 80, wait_seconds=0.01)
        with pytest.raises(UnavailableError):
            await budget.acquire("c", 1, wait_seconds=0.01)

    async def test_a_strict_one_is_never_exceeded(self) -> None:
        budget = FairBudget(2, 1, strict=True)
        await budget.acquire("a", 1)
        await budget.acquire("b", 1)
        waiting = asyncio.create_task(budget.acquire("c", 1))
        await settle()
        assert not waiting.done()
        budget.release("a", 1)
        await asyncio.wait_for(waiting, 30)

    async def test_what_is_spare_leaves_half(self) -> None:
        budget = FairBudget(100, 60)
        assert budget.try_acquire_spare("a", 30)
        assert not budget.try_acquire_spare("a", 1)
        assert budget.try_acquire_spare("b", 20)
        assert not budget.try_acquire_spare("c", 1)
        await budget.acquire("a", 30, wait_seconds=0.01)


class TestWaiting:
    async def test_tenants_in_turn(self) -> None:
        budget = FairBudget(3, 2, strict=True)
        for name in "aab":
            await budget.acquire(name, 1)
        order: list[str] = []

        async def take(name: str) -> None:
            await budget.acquire(name, 1)
            order.append(name)

        tasks = []
        for name in "cccdd":
            tasks.append(asyncio.create_task(take(name)))
            await settle()
        assert order == []
        for name in "aab":
            budget.release(name, 1)
            await settle()
        assert order == ["c", "d", "c"]
        budget.release("c", 1)
        await settle()
        assert order[3:] == ["d"]
        for name in "dcd":
            budget.release(name, 1)
        await asyncio.gather(*tasks)
        budget.release("c", 1)
        assert budget.try_acquire_spare("e", 1)

    async def test_who_gives_up_is_in_nobodys_way(self) -> None:
        budget = FairBudget(10, 10, strict=True)
        await budget.acquire("a", 8)
        large = asyncio.create_task(budget.acquire("b", 5))
        await settle()
        small = asyncio.create_task(budget.acquire("b", 2))
        await settle()
        assert not small.done()  # what was asked for first comes first
        large.cancel()
        await asyncio.wait_for(small, 30)
        budget.release("a", 8)
        budget.release("b", 2)
        await budget.acquire("c", 10, wait_seconds=0.01)

    async def test_granted_and_cancelled_at_once(self) -> None:
        budget = FairBudget(1, 1, strict=True)
        await budget.acquire("a", 1)
        waiting = asyncio.create_task(budget.acquire("b", 1))
        await settle()
        budget.release("a", 1)
        waiting.cancel()
        await asyncio.wait([waiting])
        await budget.acquire("c", 1, wait_seconds=0.01)


STEPS = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.integers(1, 12), st.sampled_from(["take", "give", "cancel"])
    ),
    max_size=60,
)


@given(STEPS, st.booleans())
async def test_whatever_comes(steps: list[tuple[str, int, str]], strict: bool) -> None:
    """The bounds hold at every moment, nobody who fits waits, and all comes back."""
    budget = FairBudget(20, 12, strict=strict)
    held: list[tuple[str, int]] = []
    waiting: list[tuple[str, int, asyncio.Task[None]]] = []

    def sums() -> Counter[str]:
        by_tenant: Counter[str] = Counter()
        for name, amount in held:
            by_tenant[name] += amount
        return by_tenant

    async def look() -> None:
        await settle()
        for one in list(waiting):
            if one[2].done():
                waiting.remove(one)
                if not one[2].cancelled():
                    held.append(one[:2])
        by_tenant = sums()
        assert all(amount <= 12 for amount in by_tenant.values())
        first = dict(reversed(held))
        excess = 0 if strict else sum(first.values())
        assert sum(by_tenant.values()) <= 20 + excess
        heads: dict[str, int] = {}
        for name, amount, _ in waiting:
            heads.setdefault(name, amount)
        for name, amount in heads.items():
            fits = by_tenant[name] + amount <= 12 and sum(by_tenant.values()) + amount <= 20
            assert not fits
            assert strict or by_tenant[name]

    for name, amount, what in steps:
        if what == "take":
            waiting.append((name, amount, asyncio.create_task(budget.acquire(name, amount))))
        elif what == "give" and held:
            budget.release(*held.pop(amount % len(held)))
        elif what == "cancel" and waiting:
            waiting[amount % len(waiting)][2].cancel()
        await look()
    while held:
        budget.release(*held.pop())
        await look()
    assert not waiting
