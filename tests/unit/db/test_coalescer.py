"""The coalescer: which requests wait, share a batch, are refused, or fail."""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.db.coalescer import Coalescer
from app.kernel.errors import NotFoundError, TrackingError, UnavailableError
from app.kernel.tenant import Tenant
from tests.support.waiting import settle

A, B = Tenant(1, "a"), Tenant(2, "b")


class Work:
    """Answers each number with its double, once `may_go_on` is set; a negative number is refused,
    and a batch with 13 fails."""

    def __init__(self) -> None:
        self.batches: list[tuple[Tenant, list[int]]] = []
        self.may_go_on = asyncio.Event()

    async def __call__(self, tenant: Tenant, items: Sequence[int]) -> list[int | TrackingError]:
        self.batches.append((tenant, list(items)))
        await self.may_go_on.wait()
        if 13 in items:
            raise ValueError("unlucky")
        return [NotFoundError(str(item)) if item < 0 else 2 * item for item in items]


@pytest.fixture
def work() -> Work:
    return Work()


async def started(
    queue: Coalescer[int, int], tenant: Tenant, items: Sequence[int]
) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(queue.submit(tenant, item)) for item in items]
    await settle()
    return tasks


async def test_waiting_items_share_a_batch(work: Work) -> None:
    queue = Coalescer(work, max_batch=100, max_waiting=1_000)
    tasks = await started(queue, A, [0]) + await started(queue, A, range(1, 8))
    work.may_go_on.set()
    assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert [items for _, items in work.batches] == [[0], [1, 2, 3, 4, 5, 6, 7]]
    assert queue.statistics().waiting_items == 0


async def test_a_batch_holds_at_most_its_size_or_one_item(work: Work) -> None:
    queue = Coalescer(work, max_batch=10, max_waiting=1_000, size=lambda item: item)
    tasks = await started(queue, A, [1, 4, 6, 1, 50, 2])
    work.may_go_on.set()
    await asyncio.gather(*tasks)
    assert [items for _, items in work.batches] == [[1], [4, 6], [1], [50], [2]]


async def test_a_full_batch_starts_beside_the_first(work: Work) -> None:
    queue = Coalescer(work, max_batch=3, max_waiting=1_000, max_concurrent=2)
    tasks = await started(queue, A, [0])
    tasks += await started(queue, A, [1, 2])
    assert [items for _, items in work.batches] == [[0]]  # the batch is not full
    tasks += await started(queue, A, [3, 4, 5, 6, 7])
    assert [items for _, items in work.batches] == [[0], [1, 2, 3]]  # no more than two
    work.may_go_on.set()
    assert await asyncio.gather(*tasks) == [2 * item for item in range(8)]
    assert [items for _, items in work.batches][2:] == [[4, 5, 6], [7]]
    assert queue.statistics().waiting_items == 0
    assert await queue.submit(A, 21) == 42


@given(
    items=st.lists(st.integers(1, 5), max_size=40),
    pauses=st.lists(st.booleans(), min_size=40, max_size=40),
    max_concurrent=st.integers(1, 3),
)
@settings(deadline=None)
async def test_each_item_is_processed_once(
    items: list[int], pauses: list[bool], max_concurrent: int
) -> None:
    """Batches are not too large, and at most `max_concurrent` are processed at a time."""
    seen: list[int] = []
    under_way = 0

    async def process(_tenant: Tenant, batch: Sequence[int]) -> list[int | TrackingError]:
        nonlocal under_way
        under_way += 1
        assert under_way <= max_concurrent
        assert len(batch) == 1 or sum(batch) <= 8
        for _ in range(max(0, sum(batch))):
            await asyncio.sleep(0)
        seen.extend(batch)
        under_way -= 1
        return [2 * item for item in batch]

    most = 10_000
    queue = Coalescer(
        process, max_batch=8, max_waiting=most, max_concurrent=max_concurrent, size=abs
    )
    tasks = []
    for item, pause in zip(items, pauses, strict=False):
        tasks.append(asyncio.create_task(queue.submit(A, item)))
        if pause:
            await asyncio.sleep(0)
    assert await asyncio.gather(*tasks) == [2 * item for item in items]
    assert sorted(seen) == sorted(items)
    assert queue.statistics().waiting_items == 0
    # Where nothing of the tenant is left, an item of any size is taken.
    assert await queue.submit(A, -2 * most) == -4 * most


async def test_tenants_do_not_wait_for_one_another(work: Work) -> None:
    queue = Coalescer(work, max_batch=10, max_waiting=1_000)
    tasks = await started(queue, A, [1]) + await started(queue, B, [2])
    assert work.batches == [(A, [1]), (B, [2])]
    work.may_go_on.set()
    await asyncio.gather(*tasks)


async def test_one_tenant_may_fill_half_of_the_queue(work: Work) -> None:
    queue = Coalescer(work, max_batch=1, max_waiting=10)
    under_way = [*await started(queue, A, [0]), *await started(queue, B, [0])]
    waiting = 0
    for tenant in (A, B):
        tasks = await started(queue, tenant, range(20))
        refused = [task for task in tasks if task.done()]
        assert len(refused) == 15
        assert all(isinstance(task.exception(), UnavailableError) for task in refused)
        under_way += [task for task in tasks if task not in refused]
        waiting += 5
        assert queue.statistics().waiting_items == waiting
    work.may_go_on.set()
    await asyncio.gather(*under_way)
    assert queue.statistics().waiting_items == 0
    assert await queue.submit(A, 21) == 42


async def test_errors_are_raised_for_their_own_items(work: Work) -> None:
    queue = Coalescer(work, max_batch=10, max_waiting=1_000)
    work.may_go_on.set()
    answers = await asyncio.gather(
        *(queue.submit(A, item) for item in (1, -2, 13, 3)), return_exceptions=True
    )
    assert [str(answer) for answer in answers] == ["2", "-2", "unlucky", "6"]


async def test_a_cancelled_request_does_not_affect_others(work: Work) -> None:
    queue = Coalescer(work, max_batch=10, max_waiting=1_000)
    first, *rest = await started(queue, A, [1, 2, 3])
    rest[0].cancel()
    first.cancel()
    work.may_go_on.set()
    assert await rest[1] == 6
    assert queue.statistics().waiting_items == 0


async def test_a_batch_does_not_run_in_the_context_of_a_request(work: Work) -> None:
    """Its log lines would otherwise name one request for errors of others. An item that nobody
    waits beside is processed in the context of its own request."""
    request: ContextVar[str] = ContextVar("request", default="none")
    seen = []

    async def look(tenant: Tenant, items: Sequence[int]) -> list[int | TrackingError]:
        seen.append((list(items), request.get()))
        return await work(tenant, items)

    queue = Coalescer(look, max_batch=10, max_waiting=1_000)
    tasks = []
    for number, name in enumerate(("first", "second", "third")):
        request.set(name)
        tasks += await started(queue, A, [number])
    work.may_go_on.set()
    await asyncio.gather(*tasks)
    assert seen == [([0], "first"), ([1, 2], "none")]


async def test_a_cancelled_item_does_not_hold_up_those_behind_it(work: Work) -> None:
    queue = Coalescer(work, max_batch=10, max_waiting=1_000)
    (first,) = await started(queue, A, [1])
    others = await started(queue, A, [2, 3])
    first.cancel()
    work.may_go_on.set()
    assert await asyncio.gather(*others) == [4, 6]
    with pytest.raises(asyncio.CancelledError):
        await first
    assert queue.statistics().waiting_items == 0
    assert await queue.submit(A, 21) == 42
