"""Reservations in a tenant's quota of artifact bytes, made before the bytes are received.

The bytes that are used and those that are reserved, by all workers together, never exceed the
quota. A tenant without a quota reserves nothing. A reservation ends in the transaction that makes
the object a file; where the upload fails, once its bytes are deleted; and where its worker is
killed, by expiry.
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

# How long a reservation outlives its worker. It is renewed every third of that time.
LEASE_SECONDS = 600.0

# A body of unknown length reserves as it grows: each time as many bytes as it has, within these
# bounds.
_MIN_STEP = 1 << 20
_MAX_STEP = 64 << 20

_MAX_BATCH = 100
_MAX_WAITING = 10_000

_WHOLE = 0  # the part number of a whole object


@dataclass(frozen=True, slots=True)
class _Request:
    """A request for at least `minimum`, at best `wanted` bytes for a part of an object, within a
    quota of `limit` bytes.

    `replaces` is an object and its part, None for all of its parts, whose reservations don't count.
    """

    object_id: UUID
    part: int
    minimum: int
    wanted: int
    limit: int
    expiry_time: int
    replaces: tuple[UUID, int | None]


class Reservations:
    """Reserves bytes in tenants' quotas. Without `quotas`, no tenant has one."""

    def __init__(self, database: Database, quotas: Quotas | None) -> None:
        self._database = database
        self._quotas = quotas
        # Concurrent requests of a tenant share one transaction, and so one connection.
        self._requests: Coalescer[_Request, int] = Coalescer(
            partial(_grant_batch, database), max_batch=_MAX_BATCH, max_waiting=_MAX_WAITING
        )

    def limit(self, tenant: Tenant) -> int | None:
        """The tenant's quota in bytes; None where it has none."""
        return None if self._quotas is None else self._quotas.artifact_bytes(tenant)

    async def reserve(
        self, tenant: Tenant, object_id: UUID, size: int | None
    ) -> "Reservation | None":
        """Reserves `size` bytes for a new object, or a first step where the size is unknown.

        Returns None where the tenant has no quota. Raises QuotaExceededError.
        """
        if self.limit(tenant) is None:
            return None
        return await self._started(Reservation(self, tenant, object_id), size)

    async def reserve_part(
        self, tenant: Tenant, object_id: UUID, part: int, size: int | None
    ) -> "Reservation | None":
        """Reserves bytes for a part of a multipart upload. An earlier reservation of the same part
        does not count. As `reserve`; `Reservation.convert_to_part` ends it."""
        if self.limit(tenant) is None:
            return None
        replaces = (object_id, part)
        return await self._started(Reservation(self, tenant, new_uuid(), replaces), size)

    async def _started(self, reservation: "Reservation", size: int | None) -> "Reservation":
        await reservation.grow_to(size or 0, extra=_MIN_STEP if size is None else 0)
        return reservation

    async def reserve_completed(
        self, tenant: Tenant, object_id: UUID, size: int, expiry_time: int
    ) -> "Reservation | None":
        """Replaces the reservations of an upload's parts by one for the completed object.

        Returns None where the tenant has no quota. Raises QuotaExceededError.
        """
        limit = self.limit(tenant)
        if limit is None:
            return None
        request = _Request(object_id, _WHOLE, size, size, limit, expiry_time, (object_id, None))
        await self._requests.submit(tenant, request)
        await self.execute(tenant, sql.DELETE_PART_RESERVATIONS, object=object_id)
        return Reservation(self, tenant, object_id)

    async def lease(
        self,
        tenant: Tenant,
        object_id: UUID,
        replaces: tuple[UUID, int | None],
        minimum: int,
        extra: int,
    ) -> int:
        """Reserves at least `minimum` and at best `minimum + extra` bytes for LEASE_SECONDS, and
        returns how many it reserved. Raises QuotaExceededError."""
        limit = self.limit(tenant)
        if limit is None:  # the quota was lifted meanwhile
            return minimum + extra
        request = _Request(
            object_id, _WHOLE, minimum, minimum + extra, limit, _lease_end(), replaces
        )
        return await self._requests.submit(tenant, request)

    async def release(self, tenant: Tenant, object_id: UUID) -> None:
        """Deletes the reservations of an object and its parts."""
        if self.limit(tenant) is not None:
            await self.execute(tenant, sql.DELETE_RESERVATIONS, object=object_id)

    async def execute(self, tenant: Tenant, statement: str, **values: object) -> None:
        """Executes a statement of `app.artifacts.sql` in a transaction of its own."""
        async with self._database.write_pipeline(tenant) as connection:
            await connection.execute(statement, {"tenant": tenant.id, **values})


class Reservation:
    """Bytes reserved for one object while it is uploaded. It renews itself until `stop_renewing` or
    `release`, one of which the owner has to call."""

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

    async def grow_to(self, size: int, *, extra: int = 0) -> None:
        """Makes this a reservation of at least `size` bytes, and of up to `extra` more where the
        quota allows. Raises QuotaExceededError."""
        self._bytes = await self._reservations.lease(
            self._tenant, self._object_id, self._replaces, size, extra
        )
        if self._timer is None:
            self._schedule_renewal()

    async def ensure(self, size: int) -> None:
        """Grows to `size` bytes where it has fewer. Raises QuotaExceededError."""
        if size > self._bytes:
            await self.grow_to(size)

    async def metered(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yields the body's chunks, each once its bytes are reserved. Raises QuotaExceededError."""
        async for chunk in body:
            self._received += len(chunk)
            if self._received > self._bytes:
                step = min(max(self._received, _MIN_STEP), _MAX_STEP)
                await self.grow_to(self._received, extra=step)
            yield chunk

    async def convert_to_part(self, expiry_time: int) -> None:
        """Turns this into the reservation of the stored part, for the bytes that were received,
        until `expiry_time` in epoch milliseconds, and stops renewing it."""
        self.stop_renewing()
        object_id, part = self._replaces
        await self._reservations.execute(
            self._tenant,
            sql.CONVERT_TO_PART,
            arrived=self._object_id,
            object=object_id,
            part=part,
            bytes=self._received,
            expiry=expiry_time,
        )

    async def release(self) -> None:
        """Deletes the reservation. Where the database does not answer, it logs a warning and the
        reservation expires."""
        self.stop_renewing()
        try:
            await self._reservations.execute(
                self._tenant, sql.DELETE_RESERVATIONS, object=self._object_id
            )
        except UnavailableError as error:
            log.warning("a reservation could not be released and will expire: %s", error)

    def stop_renewing(self) -> None:
        """Calling it twice is no error."""
        if self._timer is not None:
            self._timer.cancel()

    def _schedule_renewal(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LEASE_SECONDS / 3, self._start_renewal)

    def _start_renewal(self) -> None:
        self._renewing = asyncio.create_task(self._renew())
        self._schedule_renewal()

    async def _renew(self) -> None:
        try:
            await self._reservations.execute(
                self._tenant,
                sql.RENEW_RESERVATION,
                object=self._object_id,
                part=_WHOLE,
                expiry=_lease_end(),
            )
        except UnavailableError as error:
            log.warning("a reservation was not renewed: %s", error)


def _lease_end() -> int:
    return now_ms() + round(LEASE_SECONDS * 1000)


async def _grant_batch(
    database: Database, tenant: Tenant, requests: Sequence[_Request]
) -> list[int | QuotaExceededError]:
    async with database.write_pipeline(tenant) as connection:
        await connection.execute(sql.LOCK_RESERVATIONS, {"tenant": tenant.id})
        now = now_ms()
        cursors = [
            await connection.execute(
                sql.RESERVE,
                {
                    "tenant": tenant.id,
                    "object": request.object_id,
                    "part": request.part,
                    # An empty object needs a byte of room too, so that a full quota refuses it.
                    "least": max(1, request.minimum),
                    "wanted": request.wanted,
                    "limit": request.limit,
                    "now": now,
                    "expiry": request.expiry_time,
                    "replaces": request.replaces[0],
                    "replaced_part": request.replaces[1],
                },
            )
            for request in requests
        ]
        rows = [await cursor.fetchone() for cursor in cursors]
    return [
        _result(tenant, request, *row)
        for request, row in zip(requests, rows, strict=True)
        if row is not None
    ]


def _result(
    tenant: Tenant, request: _Request, granted: int | None, used: int, reserved: int
) -> int | QuotaExceededError:
    if granted is not None:
        return granted
    under_way = f", and {reserved} more under way" if reserved else ""
    return QuotaExceededError(
        f"The tenant '{tenant.slug}' may store {request.limit} bytes of artifacts and has {used}"
        f"{under_way} (quota artifact_bytes)"
    )
