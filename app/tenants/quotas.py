"""Quotas: checks and counts what a tenant with limits does. Without a limit nothing is counted."""

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from app.audit import trail
from app.db.database import Database
from app.db.pipeline import Pipeline
from app.kernel.errors import QuotaExceededError, RateLimitedError
from app.kernel.tenant import Tenant
from app.tenants import repository, sql
from app.tenants.entities import Limits
from app.tenants.lookup import TenantLookup

# A worker takes points from the day's count in advance, so that not every request writes to it: as
# many as a flush of the write queue holds, and at most a hundredth of the quota.
POINTS_IN_ADVANCE = 5_000
ADVANCE_DIVISOR = 100

# Seconds. The quota of points is renewed at midnight, but MLflow's client sleeps for as long as
# Retry-After says, and would seem to hang; the quota may also be raised meanwhile.
MAX_RETRY_AFTER = 60


@dataclass(slots=True)
class _TokenBucket:
    """A token bucket with a capacity of one second's tokens, and at least one.

    `filled` is when tokens were last added, in seconds of the monotonic clock.
    """

    tokens: float
    filled: float

    def take(self, rate: float) -> float:
        """Take a token at `rate` tokens a second; 0, or the seconds until there is one."""
        now = time.monotonic()
        self.tokens = min(max(rate, 1.0), self.tokens + (now - self.filled) * rate)
        self.filled = now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) / rate


@dataclass(slots=True)
class _PointsInHand:
    """Points of a day (UTC) that this worker has taken from the count and not used yet."""

    day: date = date.min
    unused: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tenant uses of its quotas; `points_today` is None if it has no quota of points."""

    points_today: int | None
    runs: int
    artifact_bytes: int
    limits: Limits


class Quotas:
    """The quotas of tenants. Each of `workers` grants its share of a tenant's request rate."""

    def __init__(self, database: Database, tenants: TenantLookup, *, workers: int) -> None:
        self._database = database
        self._tenants = tenants
        self._workers = workers
        self._buckets: dict[int, _TokenBucket] = {}
        self._points: dict[int, _PointsInHand] = {}

    async def set_limits(self, tenant: Tenant, changes: Mapping[str, int | None]) -> None:
        """Set the given quotas, by the names of `Limits`; None removes one.

        They apply in every worker within seconds.
        """
        async with self._database.write(tenant) as connection:
            await repository.set_limits(connection, tenant, changes)
            await trail.record(connection, tenant, "tenant.limit", tenant.slug, **changes)
        self._tenants.invalidate(tenant.slug)

    def take_request(self, tenant: Tenant) -> None:
        """Count a request. Raises RateLimitedError if the tenant is over its request rate."""
        limits = self._tenants.limits(tenant)
        if limits is None or limits.requests_per_second is None:
            return
        rate = limits.requests_per_second / self._workers
        bucket = self._buckets.get(tenant.id)
        if bucket is None:
            bucket = self._buckets[tenant.id] = _TokenBucket(max(rate, 1.0), time.monotonic())
        wait = bucket.take(rate)
        if wait:
            raise RateLimitedError(
                f"The tenant '{tenant.slug}' may make {limits.requests_per_second} requests a"
                " second (quota requests_per_second)",
                retry_after=math.ceil(wait),
            )

    async def take_points(self, tenant: Tenant, count: int) -> None:
        """Count points. Raises RateLimitedError if the day's points would exceed the quota."""
        limits = self._tenants.limits(tenant)
        if limits is None or limits.points_per_day is None or not count:
            return
        points = self._points.setdefault(tenant.id, _PointsInHand())
        async with points.lock:
            today = _today()
            if points.day != today:
                points.day, points.unused = today, 0
            missing = count - points.unused
            if missing > 0:
                points.unused += await self._grant(tenant, today, missing, limits.points_per_day)
            points.unused -= count

    def return_points(self, tenant: Tenant, count: int) -> None:
        """Return points that were taken but not written; later requests of this worker use them."""
        points = self._points.get(tenant.id)
        if points is not None and points.day == _today():
            points.unused += count

    async def _grant(self, tenant: Tenant, today: date, count: int, limit: int) -> int:
        in_advance = min(POINTS_IN_ADVANCE, limit // ADVANCE_DIVISOR)
        for wanted in dict.fromkeys((max(count, in_advance), count)):
            values = {"tenant": tenant.id, "day": today, "count": wanted, "limit": limit}
            async with self._database.write_pipeline(tenant) as connection:
                granted = await (await connection.execute(sql.TAKE_POINTS, values)).fetchone()
            if granted is not None:
                return wanted
        raise RateLimitedError(
            f"The tenant '{tenant.slug}' may log {limit} points a day (quota points_per_day);"
            " the day ends at midnight UTC",
            retry_after=min(MAX_RETRY_AFTER, _seconds_until_midnight()),
        )

    async def remaining_runs(self, connection: Pipeline, tenant: Tenant) -> int | None:
        """How many more runs the tenant may have; None is no limit.

        Call it in the transaction that creates the runs: until the commit, others that create runs
        of the same tenant wait.
        """
        limits = self._tenants.limits(tenant)
        if limits is None or limits.runs is None:
            return None
        await connection.execute(sql.LOCK_COUNT, {"tenant": tenant.id})
        return max(0, limits.runs - await _count(connection, sql.COUNT_RUNS, tenant))

    def runs_exceeded(self, tenant: Tenant) -> QuotaExceededError:
        """The error for a run that would exceed the quota."""
        limits = self._tenants.limits(tenant) or Limits()
        return QuotaExceededError(
            f"The tenant '{tenant.slug}' may have {limits.runs} runs, deleted ones included"
            " (quota runs)"
        )

    def artifact_bytes(self, tenant: Tenant) -> int | None:
        """The tenant's quota of artifact bytes; None is no limit."""
        limits = self._tenants.limits(tenant)
        return None if limits is None else limits.artifact_bytes

    async def usage(self, tenant: Tenant) -> Usage:
        """What the tenant uses of its quotas."""
        limits = self._tenants.limits(tenant) or Limits()
        async with self._database.read_pipeline(tenant) as connection:
            values = {"tenant": tenant.id, "day": _today()}
            counted = await (await connection.execute(sql.POINTS_OF_DAY, values)).fetchone()
            runs = await _count(connection, sql.COUNT_RUNS, tenant)
            stored = await _count(connection, sql.USED_BYTES, tenant)
        points = counted[0] if counted else 0
        return Usage(points if limits.points_per_day is not None else None, runs, stored, limits)


async def _count(connection: Pipeline, statement: str, tenant: Tenant) -> int:
    row = await (await connection.execute(statement, {"tenant": tenant.id})).fetchone()
    assert row is not None
    return int(row[0])


def _today() -> date:
    return datetime.now(UTC).date()


def _seconds_until_midnight() -> int:
    """Seconds until midnight UTC, rounded up."""
    now = datetime.now(UTC)
    midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
    return math.ceil((midnight - now).total_seconds())
