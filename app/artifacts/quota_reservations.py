"""Room in a tenant's quota of bytes, set aside before the bytes come.

What is used and what is reserved, by all workers, never adds up to more than the quota. A tenant
without one reserves nothing. A reservation goes in the transaction that makes the bytes a file's;
where the upload fails, as soon as its bytes are gone; and where its worker is killed, by itself.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from app.artifacts import sql
from app.db.coalescer import Coalescer
from app.db.database import Database
from app.kernel.clock import now_ms
from app.kernel.errors import QuotaExceededError, UnavailableError
from app.kernel.ids import new_uuid
from app.kernel.tenant import Tenant
from app.tenants.quotas import Quotas

log = logging.getLogger(__name__)

# So long a reservation outlives its worker. It is renewed three times in that.
LEASE_SECONDS = 600.0

# A body of no declared length reserves as it grows: each time as much as it has, within these.
_LEAST_STEP = 1 << 20
_MOST_STEP = 64 << 20

_MAX_BATCH = 100
_MAX_WAITING = 10_000

_WHOLE = 0  # the part that stands for the whole object


@dataclass(frozen=True, slots=True)
class _Wish:
    """Room for the bytes of a part of an object: `least`, and better `wanted`, of `limit` in all.
    `replaces` is an object and its part, or all of its parts, whose own room is not counted."""

    object_id: UUID
    part: int
    least: int
    wanted: int
    limit: int
    expiry_time: int
    replaces: tuple[UUID, int | None]


class Reservations:
    def __init__(self, database: Database, quotas: Quotas | None) -> None:
        self._database = database
        self._quotas = quotas
        # A tenant that asks for many at once waits for one connection to the database.
        self._wishes: Coalescer[_Wish, int] = Coalescer(
            partial(_grant, database), max_batch=_MAX_BATCH, max_waiting=_MAX_WAITING
        )

    def limit(self, tenant: Tenant) -> int | None:
        """The tenant's quota; None where it has none."""
        return None if self._quotas is None else self._quotas.artifact_bytes(tenant)

    async def begin(
        self, tenant: Tenant, object_id: UUID, size: int | None
    ) -> "Reservation | None":
        """Room for a new object, of `size` bytes where that is known. None where the tenant has no
        quota, QuotaExceededError where it has no room."""
        if self.limit(tenant) is None:
            return None
        return await self._begin(Reservation(self, tenant, object_id), size)

    async def begin_part(
        self, tenant: Tenant, object_id: UUID, part: int, size: int | None
    ) -> "Reservation | None":
        """Room for a part of an upload, in place of what there is of it, until `settle`."""
        if self.limit(tenant) is None:
            return None
        replaces = (object_id, part)
        return await self._begin(Reservation(self, tenant, new_uuid(), replaces), size)

    async def _begin(self, reservation: "Reservation", size: int | None) -> "Reservation":
        await reservation.reserve(size or 0, _LEAST_STEP if size is None else 0)
        return reservation

    async def begin_whole(
        self, tenant: Tenant, object_id: UUID, size: int, expiry_time: int
    ) -> "Reservation | None":
        """Room for an object that is stored, in place of that of its parts."""
        limit = self.limit(tenant)
        if limit is None:
            return None
        wish = _Wish(object_id, _WHOLE, size, size, limit, expiry_time, (object_id, None))
        await self._wishes.submit(tenant, wish)
        await self.execute(tenant, sql.RELEASE_PARTS, object=object_id)
        return Reservation(self, tenant, object_id)

    async def grant(
        self,
        tenant: Tenant,
        object_id: UUID,
        replaces: tuple[UUID, int | None],
        least: int,
        more: int,
    ) -> int:
        """Have at least so many bytes reserved for a while; how many they are."""
        limit = self.limit(tenant)
        if limit is None:  # lifted meanwhile
            return least + more
        wish = _Wish(object_id, _WHOLE, least, least + more, limit, _lease(), replaces)
        return await self._wishes.submit(tenant, wish)

    async def forget(self, tenant: Tenant, object_id: UUID) -> None:
        """Give back what is reserved for an object and its parts."""
        if self.limit(tenant) is not None:
            await self.execute(tenant, sql.RELEASE, object=object_id)

    async def execute(self, tenant: Tenant, statement: str, **values: object) -> None:
        async with self._database.write_pipeline(tenant) as connection:
            await connection.execute(statement, {"tenant": tenant.id, **values})


class Reservation:
    """What is set aside for one object while its bytes come. To be ended by its owner."""

    def __init__(
        self,
        reservations: Reservations,
        tenant: Tenant,
        object_id: UUID,
        replaces: tuple[UUID, int] | None = None,
    ) -> None:
        self._reservations = reservations
        self._tenant = tenant
        self._object_id = object_id
        self._replaces = replaces or (object_id, _WHOLE)
        self._bytes = 0
        self._received = 0
        self._timer: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def reserve(self, least: int, more: int = 0) -> None:
        """Have room for at least so many bytes, and better for some more. Raises
        QuotaExceededError."""
        self._bytes = await self._reservations.grant(
            self._tenant, self._object_id, self._replaces, least, more
        )
        if self._timer is None:
            self._renew_later()

    async def bounded(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The body, for each byte of which there is room before it is given."""
        async for chunk in body:
            self._received += len(chunk)
            if self._received > self._bytes:
                step = min(max(self._received, _LEAST_STEP), _MOST_STEP)
                await self.reserve(self._received, step)
            yield chunk

    async def cover(self, size: int) -> None:
        """Have room for that size. Raises QuotaExceededError."""
        if size > self._bytes:
            await self.reserve(size)

    async def settle(self, expiry_time: int) -> None:
        """End it: what came is the part's that it was reserved for, until then."""
        self.end()
        object_id, part = self._replaces
        await self._reservations.execute(
            self._tenant,
            sql.SETTLE,
            arrived=self._object_id,
            object=object_id,
            part=part,
            bytes=self._received,
            expiry=expiry_time,
        )

    async def release(self) -> None:
        """Give it back. Does not raise where the database doesn't answer: it ends by itself."""
        self.end()
        try:
            await self._reservations.execute(self._tenant, sql.RELEASE, object=self._object_id)
        except UnavailableError as error:
            log.warning("a reservation is left to its end: %s", error)

    def end(self) -> None:
        """Renew it no more. Doing so twice is no error."""
        if self._timer is not None:
            self._timer.cancel()

    def _renew_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LEASE_SECONDS / 3, self._renew_now)

    def _renew_now(self) -> None:
        self._renewing = asyncio.create_task(self._renew())
        self._renew_later()

    async def _renew(self) -> None:
        try:
            await self._reservations.execute(
                self._tenant, sql.RENEW, object=self._object_id, part=_WHOLE, expiry=_lease()
            )
        except UnavailableError as error:
            log.warning("a reservation was not renewed: %s", error)


def _lease() -> int:
    return now_ms() + round(LEASE_SECONDS * 1000)


async def _grant(
    database: Database, tenant: Tenant, wishes: Sequence[_Wish]
) -> list[int | QuotaExceededError]:
    async with database.write_pipeline(tenant) as connection:
        await connection.execute(sql.LOCK_ROOM, {"tenant": tenant.id})
        now = now_ms()
        cursors = [
            await connection.execute(
                sql.RESERVE,
                {
                    "tenant": tenant.id,
                    "object": wish.object_id,
                    "part": wish.part,
                    # Nothing, too, needs some room.
                    "least": max(1, wish.least),
                    "wanted": wish.wanted,
                    "limit": wish.limit,
                    "now": now,
                    "expiry": wish.expiry_time,
                    "replaces": wish.replaces[0],
                    "replaced_part": wish.replaces[1],
                },
            )
            for wish in wishes
        ]
        rows = [await cursor.fetchone() for cursor in cursors]
    return [_answer(tenant, wish, *row) for wish, row in zip(wishes, rows, strict=True) if row]


def _answer(
    tenant: Tenant, wish: _Wish, granted: int | None, used: int, reserved: int
) -> int | QuotaExceededError:
    if granted is not None:
        return granted
    under_way = f", and {reserved} more under way" if reserved else ""
    return QuotaExceededError(
        f"The tenant '{tenant.slug}' may store {wish.limit} bytes of artifacts and has {used}"
        f"{under_way} (quota artifact_bytes)"
    )
