"""The memory budget: its limits hold for any requests, and all of it is released."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.kernel import memory_budget, request_context
from app.kernel.errors import TooLargeError, UnavailableError
from app.kernel.memory_budget import MemoryBudget, count_fitting
from app.kernel.request_context import RequestContext
from app.kernel.tenant import Tenant
from tests.support.waiting import settle

TENANTS = [Tenant(number, f"t{number}") for number in (1, 2, 3)]
FIRST, SECOND, THIRD = TENANTS


def in_request(work):  # type: ignore[no-untyped-def]
    """The work as a request of its own; at its end it gives back what it holds."""

    async def run() -> None:
        request = RequestContext("id", {"type": "http"})
        request_context.enter(request)
        try:
            await work()
        finally:
            request.end()

    return asyncio.create_task(run())


async def holding(memory: MemoryBudget, tenant: Tenant, size: int, until: asyncio.Event) -> None:
    await memory.hold(tenant, size)
    await until.wait()


class TestMemoryBudget:
    async def test_is_given_back_at_the_end_of_the_request(self) -> None:
        memory = MemoryBudget(tenant_bytes=10, worker_bytes=20)
        end = asyncio.Event()
        task = in_request(lambda: holding(memory, FIRST, 7, end))
        await asyncio.sleep(0)
        assert memory.held == 7
        end.set()
        await task
        assert memory.held == 0

    async def test_a_request_that_fails_gives_back_too(self) -> None:
        memory = MemoryBudget(tenant_bytes=10, worker_bytes=20)

        async def fail() -> None:
            await memory.hold(FIRST, 7)
            raise KeyError("lost")

        with pytest.raises(KeyError, match="lost"):
            await in_request(fail)
        assert memory.held == 0

    async def test_a_tenant_waits_for_its_own(self) -> None:
        memory = MemoryBudget(tenant_bytes=10, worker_bytes=20)
        end = asyncio.Event()
        first = in_request(lambda: holding(memory, FIRST, 7, end))
        waits = in_request(lambda: holding(memory, FIRST, 7, end))
        other = in_request(lambda: holding(memory, SECOND, 7, end))
        await settle()
        assert memory.held == 14  # the other tenant's went past the one that waits
        end.set()
        await asyncio.gather(first, waits, other)
        assert memory.held == 0

    async def test_who_waits_too_long_is_told_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(memory_budget, "WAIT_SECONDS", 0.01)
        memory = MemoryBudget(tenant_bytes=10, worker_bytes=20)
        end = asyncio.Event()
        first = in_request(lambda: holding(memory, FIRST, 7, end))
        with pytest.raises(UnavailableError):
            await in_request(lambda: memory.hold(FIRST, 7))
        assert memory.held == 7
        end.set()
        await first

    async def test_more_than_a_tenant_may_ever_hold(self) -> None:
        with pytest.raises(TooLargeError):
            await in_request(lambda: MemoryBudget(tenant_bytes=10, worker_bytes=20).hold(FIRST, 11))

    async def test_an_answer_is_not_counted_twice(self) -> None:
        memory = MemoryBudget(tenant_bytes=1 << 20, worker_bytes=1 << 20)
        held = []

        async def answer() -> None:
            await memory.hold(FIRST, 200_000)
            await memory.hold_response(FIRST, 150_000)
            held.append(memory.held)
            await memory.hold_response(FIRST, 250_000)
            held.append(memory.held)

        await in_request(answer)
        assert held == [200_000, 250_000]

    @pytest.mark.parametrize(
        ("size", "held"), [(100_000, 200_000), (300_000, 500_000), (500_000, 500_000)]
    )
    async def test_rows_are_held_twice_as_far_as_a_tenant_may(self, size: int, held: int) -> None:
        """A run that is as large as a run may be can be read."""
        memory = MemoryBudget(tenant_bytes=500_000, worker_bytes=1_000_000)
        seen = []

        async def read() -> None:
            await memory.hold_rows(FIRST, size)
            seen.append(memory.held)
            await memory.hold_response(FIRST, 6 * size)  # as JSON writes control characters

        await in_request(read)
        assert seen == [held]
        with pytest.raises(TooLargeError):
            await in_request(lambda: memory.hold_rows(FIRST, 500_001))

    async def test_commands_are_not_counted(self) -> None:
        request_context.enter(None)
        memory = MemoryBudget(tenant_bytes=10, worker_bytes=20)
        await memory.hold(FIRST, 1000)
        assert memory.held == 0

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(TENANTS),
                st.integers(1, 10),
                st.integers(0, 3),
                st.booleans(),
            ),
            max_size=30,
        )
    )
    def test_any_requests(self, requests: list[tuple[Tenant, int, int, bool]]) -> None:
        """Never over a bound, whatever waits, ends or is cancelled; at the end nothing is held."""

        async def run() -> None:
            memory = MemoryBudget(tenant_bytes=10, worker_bytes=16)
            by_tenant: Counter[int] = Counter()

            async def one(tenant: Tenant, size: int, steps: int) -> None:
                await memory.hold(tenant, size)
                by_tenant[tenant.id] += size
                assert by_tenant[tenant.id] <= 10
                assert memory.held <= 16
                try:
                    for _ in range(steps):
                        await asyncio.sleep(0)
                finally:
                    by_tenant[tenant.id] -= size

            tasks = []
            for tenant, size, steps, cancelled in requests:
                task = in_request(lambda t=tenant, s=size, n=steps: one(t, s, n))
                tasks.append(task)
                if cancelled:
                    await asyncio.sleep(0)
                    task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                assert result is None or isinstance(result, asyncio.CancelledError), result
            assert memory.held == 0

        asyncio.run(run())


@given(st.lists(st.integers(0, 20), max_size=20), st.integers(0, 40), st.booleans())
def test_count_fitting(sizes: list[int], limit: int, partial: bool) -> None:
    count = count_fitting(sizes, limit, partial=partial)
    assert sum(sizes[:count]) <= limit or (count == 1 and not partial)
    assert count == len(sizes) or sum(sizes[: count + 1]) > limit
