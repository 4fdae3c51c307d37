"""The fair thread pool: tenants are served round-robin, and none holds all threads."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from app.kernel.fair_thread_pool import FairThreadPool
from tests.support.waiting import until

COUNT = 8
MOST = 6  # of one tenant


class Gate:
    """Work that lasts until it is let go, and that notes whose it is when it begins."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun: list[str] = []

    def work(self, tenant: str) -> Callable[[], str]:
        def call() -> str:
            self.begun.append(tenant)
            assert self.open.wait(30)
            return tenant

        return call


@pytest_asyncio.fixture
async def threads() -> AsyncIterator[FairThreadPool]:
    it = FairThreadPool(COUNT)
    yield it
    await it.close()


async def test_one_tenant_leaves_some_to_others(threads: FairThreadPool) -> None:
    gate = Gate()
    greedy = [threads.of("greedy").start(gate.work("greedy")) for _ in range(100)]
    await until(lambda: len(gate.begun) == MOST)
    for _ in range(20):
        assert await asyncio.wait_for(threads.of("other").run(lambda: "done"), 30) == "done"
    assert gate.begun == ["greedy"] * MOST
    gate.open.set()
    assert await asyncio.gather(*greedy) == ["greedy"] * 100


async def test_what_waits_goes_by_turns(threads: FairThreadPool) -> None:
    """With every thread held, a tenant that asks last for one piece is not behind a hundred."""
    first, second = Gate(), Gate()
    held = [threads.of(name).start(first.work(name)) for name in "ab" for _ in range(MOST)]
    await until(lambda: len(first.begun) == COUNT)
    order: list[str] = []
    lock = threading.Lock()

    def note(tenant: str) -> None:
        with lock:
            order.append(tenant)
        second.open.wait(0.01)

    waiting = [threads.of("c").start(note, "c") for _ in range(100)]
    waiting += [threads.of("d").start(note, "d") for _ in range(3)]
    first.open.set()
    await asyncio.gather(*held, *waiting)
    assert max(place for place, tenant in enumerate(order) if tenant == "d") < 30


async def test_one_thread_is_everybodys() -> None:
    threads = FairThreadPool(1)
    gate = Gate()
    gate.open.set()
    work = [threads.of(name).start(gate.work(name)) for name in "aab"]
    assert await asyncio.gather(*work) == ["a", "a", "b"]
    await threads.close()


async def test_errors_and_cancellations_free_the_thread(threads: FairThreadPool) -> None:
    mine = threads.of("a")

    def fail() -> None:
        raise LookupError("no")

    for _ in range(3 * COUNT):
        with pytest.raises(LookupError, match="no"):
            await mine.run(fail)
    gate = Gate()
    tasks = [asyncio.create_task(mine.run(gate.work("a"))) for _ in range(3 * COUNT)]
    await until(lambda: len(gate.begun) == MOST)
    for task in tasks:
        task.cancel()
    await threads.of("b").run(lambda: None)
    assert not any(task.done() for task in tasks)  # those that wait, too, are seen to their end
    gate.open.set()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)
    assert await mine.run(lambda: 1) == 1
    # Nothing counts as held: all threads are there for others.
    last = Gate()
    again = [threads.of(name).start(last.work(name)) for name in "bc" for _ in range(MOST)]
    await until(lambda: len(last.begun) == COUNT)
    last.open.set()
    await asyncio.gather(*again)


async def test_many_tenants_at_once(threads: FairThreadPool) -> None:
    running: dict[str, int] = {}
    most = 0
    lock = threading.Lock()

    def work(tenant: str, number: int) -> int:
        nonlocal most
        with lock:
            running[tenant] = running.get(tenant, 0) + 1
            most = max(most, running[tenant])
        with lock:
            running[tenant] -= 1
        return number

    calls = [(f"t{number % 7}", number) for number in range(3000)]
    done = await asyncio.gather(*(threads.of(name).run(work, name, n) for name, n in calls))
    assert done == list(range(3000))
    assert most <= MOST
