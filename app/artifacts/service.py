"""Artifacts: the bytes in the store, and the index of them in Postgres.

A file's bytes are stored before its row is written, and its row goes before its bytes do: a crash
leaves bytes that nobody sees, never a row without bytes. Each upload is an object of its own, and
the row says which one is the file: what replaces a file, or deletes it, can't touch the bytes of a
later one. No transfer holds a connection to the database.
"""

import asyncio
import logging
import posixpath
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from uuid import UUID

from app.artifacts import sql
from app.artifacts.artifact_owner import owner_of
from app.artifacts.entities import Artifact, Received
from app.artifacts.index import CHUNK, ArtifactIndex
from app.artifacts.index_writer import NewFile, check_nothing_in_the_way, recording
from app.artifacts.object_keys import object_key
from app.artifacts.quota_reservations import Reservation, Reservations
from app.artifacts.stores.checksums import Digest
from app.artifacts.stores.contract import ArtifactStore, StoredObject
from app.artifacts.stores.object_reader import ObjectReader
from app.artifacts.stores.upload_stream import is_small
from app.artifacts.transfer_limits import Slot, TransferSlots, unless_stalled
from app.audit import trail
from app.db.database import Database
from app.kernel.clock import now_ms
from app.kernel.errors import (
    ArtifactNotFoundError,
    ConflictError,
    InsufficientStorageError,
    InvalidStateError,
    InvalidValueError,
    NotFoundError,
    UnavailableError,
)
from app.kernel.ids import new_uuid
from app.kernel.tenant import Tenant
from app.tenants.quotas import Quotas

log = logging.getLogger(__name__)


class Artifacts(ArtifactIndex):
    """The files of tenants: what is read of their index, and all that changes it."""

    def __init__(
        self,
        database: Database,
        store: ArtifactStore,
        quotas: Quotas | None = None,
        slots: TransferSlots | None = None,
    ) -> None:
        super().__init__(database)
        self.store = store
        self.reservations = Reservations(database, quotas)
        self._slots = slots or TransferSlots()
        self._recording = recording(database)

    async def put(
        self,
        tenant: Tenant,
        path: str,
        body: AsyncIterator[bytes],
        *,
        content_length: int | None,
        content_type: str,
        digests: Sequence[Digest] = (),
    ) -> Artifact:
        """Store a file of a run or a logged model; the last whole one at a path stays.

        Raises NotFoundError where there is no such run or model, InvalidStateError where it is
        deleted, ConflictError where a file stands in for a folder of the path or a folder for its
        file, InvalidValueError where the body is not what was declared, StalledError where the
        client stops sending, QuotaExceededError where the tenant has no room for it,
        InsufficientStorageError where the store has none.
        """
        received = await self.receive(
            tenant,
            path,
            body,
            content_length=content_length,
            content_type=content_type,
            digests=digests,
        )
        return await self.keep(tenant, received, path)

    async def receive(
        self,
        tenant: Tenant,
        path: str,
        body: AsyncIterator[bytes],
        *,
        content_length: int | None,
        content_type: str,
        digests: Sequence[Digest] = (),
        settled: bool = True,
    ) -> Received:
        """Store the bytes of a file that nobody sees before `keep`. To be kept or discarded by the
        caller. Where the path is not `settled`, the file may yet be kept at another one of the same
        run or model. Raises what `put` does; what stands in the way of a path that is not settled
        is seen by `keep`."""
        if is_small(content_length) or not settled:
            # What is small is all there sooner than the database could tell that it is not wanted.
            owner_of(path)
            object_id = new_uuid()
        else:
            object_id = await self.begin(tenant, path)
        reservation = await self.reservations.begin(tenant, object_id, content_length)
        body = unless_stalled(body)
        if reservation is not None:
            body = reservation.bounded(body)
        try:
            async with self._slots.taken(tenant.slug):
                stored = await self.store.put(
                    tenant.slug,
                    object_key(path, object_id),
                    body,
                    content_length=content_length,
                    content_type=content_type,
                    digests=digests,
                )
        except BaseException as error:
            await self._give_up(tenant, path, object_id, reservation, error)
            raise
        return Received(path, object_id, stored, content_type, reservation)

    async def _give_up(
        self,
        tenant: Tenant,
        path: str,
        object_id: UUID,
        reservation: Reservation | None,
        error: BaseException,
    ) -> None:
        """Leave nothing of an object that the store has failed to take."""
        if isinstance(error, asyncio.CancelledError):
            # The store was done with it at that very moment, for all that can be told.
            await self._discard(tenant, path, object_id)
        if reservation is not None:
            await reservation.release()

    async def keep(self, tenant: Tenant, received: Received, path: str) -> Artifact:
        """Make what was received the file at the path, which may be another one than it was
        received for. Raises what `put` does; then nothing of it is left."""
        try:
            if path != received.path:
                received = await self._moved(tenant, received, path)
            return await self._record(tenant, received)
        except (
            ConflictError,
            InsufficientStorageError,
            InvalidStateError,
            InvalidValueError,
            NotFoundError,
        ):
            await self.discard(tenant, received)
            raise
        finally:
            if received.reservation is not None:
                received.reservation.end()

    async def _moved(self, tenant: Tenant, received: Received, path: str) -> Received:
        owner_of(path)
        async with self._slots.taken(tenant.slug):
            copied = await self.store.copy(
                tenant.slug, received.key, object_key(path, received.object_id)
            )
        await self.discard(tenant, received)
        return replace(
            received, path=path, stored=replace(copied, checksum=received.stored.checksum)
        )

    async def discard(self, tenant: Tenant, received: Received) -> None:
        """Remove what was received."""
        await self._discard(tenant, received.path, received.object_id)
        if received.reservation is not None:
            await received.reservation.release()

    async def begin(self, tenant: Tenant, path: str) -> UUID:
        """The id of a new object, whose bytes go to `object_key` before `keep` makes it the file at
        the path. Raises what `put` does for a path that no file can have."""
        owner = owner_of(path)
        parameters = owner.parameters | {"tenant": tenant.id, "path": path}
        async with self._database.write_pipeline(tenant) as connection:
            cursor = await connection.execute(owner.check, parameters)
            row = await cursor.fetchone()
        if row is None:
            raise owner.absent
        deleted_time, through_file, is_folder = row
        if deleted_time is not None:
            raise owner.not_active(deleted_time)
        check_nothing_in_the_way(path, through_file, is_folder)
        return new_uuid()

    async def _record(self, tenant: Tenant, received: Received) -> Artifact:
        """Make a stored object the file at its path, in place of one that is there.

        Raises NotFoundError or InvalidStateError where the run or the model is gone by now, and
        ConflictError where another upload has got in the way.
        """
        path, object_id, stored = received.path, received.object_id, received.stored
        artifact = Artifact(
            path,
            stored.size,
            stored.etag,
            received.content_type,
            now_ms(),
            object_id,
            stored.checksum,
        )
        replaced = await self._recording.submit(
            tenant,
            NewFile(
                path,
                owner_of(path),
                object_id,
                stored,
                received.content_type,
                artifact.updated_time,
                received.reservation is not None,
            ),
        )
        if replaced:
            await self._discard(tenant, path, replaced.object_id)
        return artifact

    async def _discard(self, tenant: Tenant, path: str, object_id: UUID | None) -> None:
        """Delete an object that no row names."""
        try:
            await self.store.delete(tenant.slug, [object_key(path, object_id)])
        except (InsufficientStorageError, UnavailableError) as error:
            log.warning("an object without a row is left to garbage collection: %s", error)

    async def copy(self, tenant: Tenant, source: Artifact, path: str) -> Artifact:
        """Make a copy of a file the file at the path, without moving its bytes through this process
        where the store can. Raises what `put` does, and NotFoundError where the source is gone."""
        object_id = await self.begin(tenant, path)
        reservation = await self.reservations.begin(tenant, object_id, source.size)
        try:
            key = object_key(path, object_id)
            source, copied = await self._copied(tenant, source, key, reservation)
        except BaseException as error:
            await self._give_up(tenant, path, object_id, reservation, error)
            raise
        stored = replace(copied, checksum=source.sha256)
        received = Received(path, object_id, stored, source.content_type, reservation)
        return await self.keep(tenant, received, path)

    async def _copied(
        self, tenant: Tenant, source: Artifact, key: str, reservation: Reservation | None
    ) -> tuple[Artifact, StoredObject]:
        """The file that was copied, which may have replaced the source, and its copy."""
        while True:
            try:
                async with self._slots.taken(tenant.slug):
                    return source, await self.store.copy(tenant.slug, source.key, key)
            except NotFoundError:
                source = await self._replacement(tenant, source)
                if reservation is not None:
                    await reservation.cover(source.size)

    async def take_slot(self, tenant: Tenant) -> Slot:
        """A place among the tenant's transfers, for one that reads several files. To be given back
        by the caller. Raises UnavailableError where there is none for a while."""
        return await self._slots.take(tenant.slug)

    async def open(
        self,
        tenant: Tenant,
        artifact: Artifact,
        *,
        start: int = 0,
        end: int | None = None,
        slot: Slot | None = None,
    ) -> ObjectReader:
        """The bytes from `start` up to and without `end`; the caller closes the reader.

        They are those of a later file where the artifact was replaced since it was read. A transfer
        of its own, unless the caller has a slot. Raises NotFoundError where it was deleted.
        """
        if slot is not None:
            return await self._open(tenant, artifact, start, end)
        slot = await self._slots.take(tenant.slug)
        try:
            reader = await self._open(tenant, artifact, start, end)
        except BaseException:
            slot.give_back()
            raise
        reader.when_closed(slot.give_back)
        return reader

    async def _open(
        self, tenant: Tenant, artifact: Artifact, start: int, end: int | None
    ) -> ObjectReader:
        while True:
            try:
                return await self.store.open(tenant.slug, artifact.key, start=start, end=end)
            except NotFoundError:
                artifact = await self._replacement(tenant, artifact)

    async def _replacement(self, tenant: Tenant, gone: Artifact) -> Artifact:
        """What replaced a file whose object is gone; NotFoundError where nothing did."""
        current = await self.get(tenant, gone.path)
        if current.object_id == gone.object_id:
            raise ArtifactNotFoundError(gone.path)
        return current

    async def delete(self, tenant: Tenant, path: str) -> None:
        """Remove a file, or all that lies in a folder. NotFoundError where there is neither."""
        found = False
        async for _ in self.remove(tenant, path):
            found = True
        if not found:
            raise ArtifactNotFoundError(path)

    async def remove(self, tenant: Tenant, *paths: str) -> AsyncIterator[Artifact]:
        """Remove files, or all that lies in folders, and tell what is gone."""
        while True:
            async with self._database.write_pipeline(tenant) as connection:
                cursor = await connection.execute(
                    sql.FORGET, {"tenant": tenant.id, "paths": list(paths), "limit": CHUNK}
                )
                gone = [Artifact(*row) for row in await cursor.fetchall()]
                if gone:
                    target = posixpath.commonpath(paths)
                    await trail.record(
                        connection, tenant, "artifacts.delete", target, files=len(gone)
                    )
            await self.store.delete(tenant.slug, [artifact.key for artifact in gone])
            for artifact in gone:
                yield artifact
            if len(gone) < CHUNK:
                return

    async def close(self) -> None:
        await self.store.close()
