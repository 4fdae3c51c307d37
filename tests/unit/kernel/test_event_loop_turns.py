"""Turns on the event loop: one at a time, tenants round-robin, whatever is cancelled."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from app.kernel.event_loop_turns import EventLoopTurns
from app.kernel.tenant import Tenant

TENANTS = [Tenant(number, f"t{number}") for number in (1, 2, 3)]
FIRST, SECOND, THIRD = TENANTS


class TestTurns:
    async def test_one_at_a_time_and_tenants_in_turn(self) -> None:
        turns = EventLoopTurns()
        order: list[int] = []

        async def work(tenant: Tenant) -> None:
            async with turns.turn(tenant):
                order.append(tenant.id)

        asked = [FIRST] * 4 + [SECOND] * 2 + [THIRD]
        await asyncio.gather(*(work(tenant) for tenant in asked))
        assert order == [1, 1, 2, 3, 1, 2, 1]

    async def test_others_run_between_two_turns(self) -> None:
        turns = EventLoopTurns()
        seen = 0

        async def other() -> None:
            nonlocal seen
            while True:
                seen += 1
                await asyncio.sleep(0)

        async def work() -> None:
            async with turns.turn(FIRST):
                pass

        watching = asyncio.create_task(other())
        await asyncio.gather(*(work() for _ in range(50)))
        watching.cancel()
        assert seen >= 50

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(TENANTS), st.booleans()), max_size=30))
    def test_any_cancellations(self, asked: list[tuple[Tenant, bool]]) -> None:
        async def run() -> None:
            turns = EventLoopTurns()
            busy = False

            async def work(tenant: Tenant) -> None:
                nonlocal busy
                async with turns.turn(tenant):
                    assert not busy
                    busy = True
                    busy = False

            tasks = []
            for tenant, cancelled in asked:
                task = asyncio.create_task(work(tenant))
                tasks.append(task)
                if cancelled:
                    await asyncio.sleep(0)
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            async with asyncio.timeout(5):
                await work(FIRST)  # nobody has kept the turn

        asyncio.run(run())
