"""Shares of the connection pool: bounds on how many connections a tenant, and reads, may hold.

Postgres can be slow for one tenant alone: ten of its searches would hold ten connections for half a
minute. So requests pass this gate before the pool:

- a tenant holds at most half of the connections;
- reads hold at most four fifths of all, and of a tenant's half; the rest is kept for writes.

A request within the bounds proceeds at once. Others wait, first come, first served among a tenant's
reads and among its writes. A connection that is released goes to the waiting tenant, within the
bounds, that holds the fewest; of several, to the one that has waited longest.
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
    """A waiting request. `granted` is done once a connection is counted as held by it."""

    number: int  # in the order of arrival, across tenants
    granted: asyncio.Future[None]


@dataclass(slots=True, eq=False)
class _TenantShare:
    """The connections that a tenant holds, in all and for reads, and its waiting requests."""

    held: int = 0
    reads: int = 0
    waiting_reads: deque[_Waiter] = field(default_factory=deque)
    waiting_writes: deque[_Waiter] = field(default_factory=deque)

    def queue(self, read_only: bool) -> deque[_Waiter]:
        return self.waiting_reads if read_only else self.waiting_writes


class ConnectionShares:
    """Counts the connections that tenants hold; the pool itself is SQLAlchemy's.

    For one event loop. Invariant between calls: no request waits that is within the bounds. So a
    new request need not check who waits.
    """

    def __init__(self, size: int, *, wait_seconds: float) -> None:
        """`size` is the number of connections; a request waits for one up to `wait_seconds`."""
        self._size = size
        self._per_tenant = max(1, size // 2)
        self._max_reads = _read_limit(size)
        self._reads_per_tenant = _read_limit(self._per_tenant)
        self._wait_seconds = wait_seconds
        self._held = 0
        self._reads = 0
        self._waiting = 0
        self._shares: dict[str, _TenantShare] = {}
        self._numbers = count()

    @property
    def waiting(self) -> int:
        """The number of waiting requests."""
        return self._waiting

    def connection(self, tenant: str, *, read_only: bool) -> "_Connection":
        """A context that holds the right to one connection.

        Entering it waits, and raises UnavailableError after `wait_seconds`. A request that holds a
        connection must not wait for a second one: a tenant's share may be one connection.
        """
        return _Connection(self, tenant, read_only)

    async def acquire(self, tenant: str, read_only: bool) -> None:
        share = self._shares.get(tenant)
        if share is None:
            share = self._shares[tenant] = _TenantShare()
        if self._within_bounds(share, read_only):
            self._count(share, read_only, 1)
        else:
            await self._wait(tenant, share, read_only)

    def release(self, tenant: str, read_only: bool) -> None:
        share = self._shares[tenant]
        self._count(share, read_only, -1)
        if self._waiting:
            self._grant_waiting()
        self._remove_if_idle(tenant)

    def _within_bounds(self, share: _TenantShare, read_only: bool) -> bool:
        if self._held >= self._size or share.held >= self._per_tenant:
            return False
        return not read_only or (
            self._reads < self._max_reads and share.reads < self._reads_per_tenant
        )

    def _count(self, share: _TenantShare, read_only: bool, change: int) -> None:
        self._held += change
        share.held += change
        if read_only:
            self._reads += change
            share.reads += change

    async def _wait(self, tenant: str, share: _TenantShare, read_only: bool) -> None:
        loop = asyncio.get_running_loop()
        waiter = _Waiter(next(self._numbers), loop.create_future())
        queue = share.queue(read_only)
        queue.append(waiter)
        self._waiting += 1
        timer = loop.call_later(self._wait_seconds, _time_out, waiter.granted)
        try:
            await waiter.granted
        except BaseException:
            if _was_granted(waiter):  # and cancelled before it was used
                self.release(tenant, read_only)
            else:
                with suppress(ValueError):  # it may have been removed already
                    queue.remove(waiter)
                self._remove_if_idle(tenant)
            raise
        finally:
            self._waiting -= 1
            timer.cancel()

    def _grant_waiting(self) -> None:
        """Grant free connections until no request waits that is within the bounds."""
        while self._held < self._size:
            # Few tenants hold or wait for connections at a time, so a scan of them is cheap.
            candidates = [
                (share.held, waiter.number, share, read_only, waiter)
                for share in self._shares.values()
                if (first := self._first_waiter(share)) is not None
                for read_only, waiter in (first,)
            ]
            if not candidates:
                return
            _, _, share, read_only, waiter = min(candidates, key=lambda candidate: candidate[:2])
            share.queue(read_only).popleft()
            self._count(share, read_only, 1)
            waiter.granted.set_result(None)

    def _first_waiter(self, share: _TenantShare) -> tuple[bool, _Waiter] | None:
        """A tenant's next request within the bounds, and whether it is a read."""
        first: tuple[bool, _Waiter] | None = None
        for read_only, queue in ((False, share.waiting_writes), (True, share.waiting_reads)):
            while queue and queue[0].granted.done():  # timed out or cancelled
                queue.popleft()
            if (
                queue
                and self._within_bounds(share, read_only)
                and (first is None or queue[0].number < first[1].number)
            ):
                first = read_only, queue[0]
        return first

    def _remove_if_idle(self, tenant: str) -> None:
        share = self._shares.get(tenant)
        if share and not (share.held or share.waiting_reads or share.waiting_writes):
            del self._shares[tenant]


class _Connection:
    """A class, since a generator with `contextlib` would cost as much as the counting."""

    __slots__ = ("_read_only", "_shares", "_tenant")

    def __init__(self, shares: ConnectionShares, tenant: str, read_only: bool) -> None:
        self._shares = shares
        self._tenant = tenant
        self._read_only = read_only

    async def __aenter__(self) -> None:
        await self._shares.acquire(self._tenant, self._read_only)

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._shares.release(self._tenant, self._read_only)


def _read_limit(connections: int) -> int:
    """How many of the connections reads may hold: four fifths; of one or two, all."""
    return connections - max(1, connections // 5) if connections > 2 else connections


def _was_granted(waiter: _Waiter) -> bool:
    granted = waiter.granted
    return granted.done() and not granted.cancelled() and granted.exception() is None


def _time_out(granted: asyncio.Future[None]) -> None:
    if not granted.done():
        granted.set_exception(
            UnavailableError("All database connections are busy; try again shortly")
        )
