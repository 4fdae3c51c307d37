"""Who may have one of few connections: each tenant its share, and writes before reads.

A gate in front of the pool. Postgres can be slow for one tenant alone: ten of its searches would
hold ten connections for half a minute. So there are four bounds:

- a tenant holds at most half of the connections;
- reads hold at most four fifths of all, and of a tenant's half: some are kept for writes.

Who finds room goes at once. Others wait, each tenant's reads and writes in the order that they
came. A connection that comes back goes to the tenant, of those that may have it, that holds the
fewest; of several, to the one that has waited longest.
"""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType

from app.kernel.errors import UnavailableError


@dataclass(slots=True, eq=False)
class _Waiter:
    """A request that waits. `turn` has a result once the connection counts as its own."""

    number: int  # in the order of arrival, of all tenants
    turn: asyncio.Future[None]


@dataclass(slots=True, eq=False)
class _Share:
    """The connections that a tenant holds, in all and for reads, and its requests that wait."""

    held: int = 0
    reads: int = 0
    waiting_reads: deque[_Waiter] = field(default_factory=deque)
    waiting_writes: deque[_Waiter] = field(default_factory=deque)

    def queue(self, read_only: bool) -> deque[_Waiter]:
        return self.waiting_reads if read_only else self.waiting_writes


class ConnectionShares:
    """Counts who holds connections; it neither makes nor keeps any.

    For one event loop. Whenever it is left, nobody waits who might go: what comes meanwhile need
    not look at who waits.
    """

    def __init__(self, size: int, *, patience: float) -> None:
        """`size` is the number of connections, `patience` how many seconds a request waits."""
        self._size = size
        self._of_one = max(1, size // 2)
        self._for_reads = _for_reads(size)
        self._for_reads_of_one = _for_reads(self._of_one)
        self._patience = patience
        self._held = 0
        self._reads = 0
        self._waiting = 0
        self._shares: dict[str, _Share] = {}
        self._numbers = count()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self._waiting

    def connection(self, tenant: str, *, read_only: bool) -> "_Turn":
        """The right to one connection, for as long as the context lasts.

        Entering it raises UnavailableError for who waited too long. Who holds one must not wait
        for a second: where the tenant's share is one connection, that would never come.
        """
        return _Turn(self, tenant, read_only)

    async def take(self, tenant: str, read_only: bool) -> None:
        share = self._shares.get(tenant)
        if share is None:
            share = self._shares[tenant] = _Share()
        if self._has_room(share, read_only):
            self._count(share, read_only, 1)
        else:
            await self._wait(tenant, share, read_only)

    def give_back(self, tenant: str, read_only: bool) -> None:
        share = self._shares[tenant]
        self._count(share, read_only, -1)
        if self._waiting:
            self._admit()
        self._forget_idle(tenant)

    def _has_room(self, share: _Share, read_only: bool) -> bool:
        if self._held >= self._size or share.held >= self._of_one:
            return False
        return not read_only or (
            self._reads < self._for_reads and share.reads < self._for_reads_of_one
        )

    def _count(self, share: _Share, read_only: bool, change: int) -> None:
        self._held += change
        share.held += change
        if read_only:
            self._reads += change
            share.reads += change

    async def _wait(self, tenant: str, share: _Share, read_only: bool) -> None:
        loop = asyncio.get_running_loop()
        waiter = _Waiter(next(self._numbers), loop.create_future())
        queue = share.queue(read_only)
        queue.append(waiter)
        self._waiting += 1
        timer = loop.call_later(self._patience, _give_up, waiter.turn)
        try:
            await waiter.turn
        except BaseException:
            if _granted(waiter):  # and cancelled before it could use it
                self.give_back(tenant, read_only)
            else:
                with suppress(ValueError):  # it was passed over already
                    queue.remove(waiter)
                self._forget_idle(tenant)
            raise
        finally:
            self._waiting -= 1
            timer.cancel()

    def _admit(self) -> None:
        """Give what is free to those who wait, until nobody is left who may have it."""
        while self._held < self._size:
            # Few tenants hold or wait for connections at a time.
            found = [
                (share.held, waiter.number, share, read_only, waiter)
                for share in self._shares.values()
                if (next_one := self._next(share)) is not None
                for read_only, waiter in (next_one,)
            ]
            if not found:
                return
            _, _, share, read_only, waiter = min(found, key=lambda one: one[:2])
            share.queue(read_only).popleft()
            self._count(share, read_only, 1)
            waiter.turn.set_result(None)

    def _next(self, share: _Share) -> tuple[bool, _Waiter] | None:
        """The request of a tenant that would go next, and whether it reads."""
        first: tuple[bool, _Waiter] | None = None
        for read_only, queue in ((False, share.waiting_writes), (True, share.waiting_reads)):
            while queue and queue[0].turn.done():  # it has given up, and is about to leave
                queue.popleft()
            if (
                queue
                and self._has_room(share, read_only)
                and (first is None or queue[0].number < first[1].number)
            ):
                first = read_only, queue[0]
        return first

    def _forget_idle(self, tenant: str) -> None:
        share = self._shares.get(tenant)
        if share and not (share.held or share.waiting_reads or share.waiting_writes):
            del self._shares[tenant]


class _Turn:
    """Written out, since `contextlib` would cost as much again as the counting."""

    __slots__ = ("_read_only", "_shares", "_tenant")

    def __init__(self, shares: ConnectionShares, tenant: str, read_only: bool) -> None:
        self._shares = shares
        self._tenant = tenant
        self._read_only = read_only

    async def __aenter__(self) -> None:
        await self._shares.take(self._tenant, self._read_only)

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._shares.give_back(self._tenant, self._read_only)


def _for_reads(connections: int) -> int:
    """How many of so many connections reads may hold; of one or two, all."""
    return connections - max(1, connections // 5) if connections > 2 else connections


def _granted(waiter: _Waiter) -> bool:
    turn = waiter.turn
    return turn.done() and not turn.cancelled() and turn.exception() is None


def _give_up(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_exception(UnavailableError("All database connections are busy; try again shortly"))
