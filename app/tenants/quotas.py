"""Quotas: what a tenant may do and keep, where it has a limit. Nothing is counted where not."""

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import psycopg

from app.audit import trail
from app.db.database import Database
from app.kernel.errors import QuotaExceededError, RateLimitedError
from app.kernel.tenant import Tenant
from app.tenants import repository, sql
from app.tenants.limits import Limits
from app.tenants.lookup import TenantLookup

# A worker takes points for later from the day's count, so that it need not write to it for each
# request: as many as one flush of the write queue holds, and at most this part of the quota.
POINTS_IN_ADVANCE = 5_000
PART_IN_ADVANCE = 100

# The points' quota is renewed at midnight, or raised sooner; a client that is told to wait until
# midnight would hang until then, without a word to its user.
MAX_RETRY_AFTER = 60


@dataclass(slots=True)
class _Bucket:
    """A token bucket that holds one second's worth, and at least one request."""

    tokens: float
    filled: float

    def take(self, rate: float) -> float:
        """0 where a request may go, else the seconds until one may."""
        now = time.monotonic()
        self.tokens = min(max(rate, 1.0), self.tokens + (now - self.filled) * rate)
        self.filled = now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) / rate


@dataclass(slots=True)
class _Day:
    """The points of a day that this worker has taken and not used."""

    day: date = date.min
    left: int = 0
    taking: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tenant uses. `points_today` is counted only where points have a quota."""

    points_today: int | None
    runs: int
    artifact_bytes: int
    limits: Limits


class Quotas:
    """Requests are counted by worker: each grants its share of a tenant's rate."""

    def __init__(self, database: Database, tenants: TenantLookup, *, workers: int) -> None:
        self._database = database
        self._tenants = tenants
        self._workers = workers
        self._buckets: dict[int, _Bucket] = {}
        self._days: dict[int, _Day] = {}

    async def limit(self, tenant: Tenant, changes: Mapping[str, int | None]) -> None:
        """Set those quotas that are given, by the names of `Limits`; None lifts one.

        Every worker goes by them within seconds.
        """
        async with self._database.write(tenant) as connection:
            await repository.set_limits(connection, tenant, changes)
            await trail.record(connection, tenant, "tenant.limit", tenant.slug, **changes)
        self._tenants.forget(tenant.slug)

    def take_request(self, tenant: Tenant) -> None:
        """Raises RateLimitedError for a tenant that asks too often."""
        limits = self._tenants.limits(tenant)
        if limits is None or limits.requests_per_second is None:
            return
        rate = limits.requests_per_second / self._workers
        bucket = self._buckets.get(tenant.id)
        if bucket is None:
            bucket = self._buckets[tenant.id] = _Bucket(max(rate, 1.0), time.monotonic())
        wait = bucket.take(rate)
        if wait:
            raise RateLimitedError(
                f"The tenant '{tenant.slug}' may make {limits.requests_per_second} requests a"
                " second (quota requests_per_second)",
                retry_after=math.ceil(wait),
            )

    async def take_points(self, tenant: Tenant, count: int) -> None:
        """Raises RateLimitedError where the day's points would be more than the quota."""
        limits = self._tenants.limits(tenant)
        if limits is None or limits.points_per_day is None or not count:
            return
        mine = self._days.setdefault(tenant.id, _Day())
        async with mine.taking:
            today = _today()
            if mine.day != today:
                mine.day, mine.left = today, 0
            missing = count - mine.left
            if missing > 0:
                mine.left += await self._grant(tenant, today, missing, limits.points_per_day)
            mine.left -= count

    def return_points(self, tenant: Tenant, count: int) -> None:
        """Points that were taken and then not written, for others of this worker."""
        mine = self._days.get(tenant.id)
        if mine is not None and mine.day == _today():
            mine.left += count

    async def _grant(self, tenant: Tenant, today: date, count: int, limit: int) -> int:
        in_advance = min(POINTS_IN_ADVANCE, limit // PART_IN_ADVANCE)
        for wanted in dict.fromkeys((max(count, in_advance), count)):
            values = {"tenant": tenant.id, "day": today, "count": wanted, "limit": limit}
            async with self._database.write_pipeline(tenant) as connection:
                granted = await (await connection.execute(sql.TAKE_POINTS, values)).fetchone()
            if granted is not None:
                return wanted
        raise RateLimitedError(
            f"The tenant '{tenant.slug}' may log {limit} points a day (quota points_per_day);"
            " the day ends at midnight UTC",
            retry_after=min(MAX_RETRY_AFTER, _seconds_left()),
        )

    async def room_for_runs(
        self, connection: psycopg.AsyncConnection, tenant: Tenant
    ) -> int | None:
        """How many runs more the tenant may have; None for any number.

        `connection` is in the transaction that makes the runs. It waits for others that make some
        for the same tenant.
        """
        limits = self._tenants.limits(tenant)
        if limits is None or limits.runs is None:
            return None
        await connection.execute(sql.LOCK_COUNT, {"tenant": tenant.id})
        return max(0, limits.runs - await _number(connection, sql.COUNT_RUNS, tenant))

    def no_room_for_runs(self, tenant: Tenant) -> QuotaExceededError:
        limits = self._tenants.limits(tenant) or Limits()
        return QuotaExceededError(
            f"The tenant '{tenant.slug}' may have {limits.runs} runs, deleted ones included"
            " (quota runs)"
        )

    def artifact_bytes(self, tenant: Tenant) -> int | None:
        """How many bytes of artifacts the tenant may have; None for any number."""
        limits = self._tenants.limits(tenant)
        return None if limits is None else limits.artifact_bytes

    async def usage(self, tenant: Tenant) -> Usage:
        """What the tenant uses of its quotas."""
        limits = self._tenants.limits(tenant) or Limits()
        async with self._database.read_pipeline(tenant) as connection:
            values = {"tenant": tenant.id, "day": _today()}
            counted = await (await connection.execute(sql.POINTS_OF_DAY, values)).fetchone()
            runs = await _number(connection, sql.COUNT_RUNS, tenant)
            stored = await _number(connection, sql.USED_BYTES, tenant)
        points = counted[0] if counted else 0
        return Usage(points if limits.points_per_day is not None else None, runs, stored, limits)


async def _number(connection: psycopg.AsyncConnection, statement: str, tenant: Tenant) -> int:
    row = await (await connection.execute(statement, {"tenant": tenant.id})).fetchone()
    assert row is not None
    return int(row[0])


def _today() -> date:
    return datetime.now(UTC).date()


def _seconds_left() -> int:
    """Until midnight UTC."""
    now = datetime.now(UTC)
    midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
    return math.ceil((midnight - now).total_seconds())
