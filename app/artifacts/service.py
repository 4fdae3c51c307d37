"""Stores, reads, copies and deletes artifacts: their bytes in the store, their rows in the index.

An upload stores an object of its own under a new id, and then writes the row that makes it the file
at its path; a deletion removes the row first and then the object. So a crash can leave an object
without a row, which garbage collection removes, but never a row without an object; and what
replaces or deletes a file can't touch the bytes of a later one. No transfer holds a connection to
the database.
"""

import asyncio
import logging
import posixpath
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from uuid import UUID

from app.artifacts import repository
from app.artifacts.artifact_owner import owner_of
from app.artifacts.entities import Artifact
from app.artifacts.index import CHUNK, ArtifactIndex
from app.artifacts.index_writer import IndexWriter, NewFile, check_unobstructed
from app.artifacts.object_keys import object_key
from app.artifacts.quota_reservations import Reservation, Reservations
from app.artifacts.stores.checksums import Digest
from app.artifacts.stores.contract import ArtifactStore
from app.artifacts.stores.object_reader import ObjectReader
from app.artifacts.stores.upload_stream import is_small
from app.artifacts.stores.values import StoredObject
from app.artifacts.transfer_limits import Slot, TransferSlots, unless_stalled
from app.artifacts.unpublished_object import UnpublishedObject
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
    """The files of tenants: reads of the index, and all that changes files."""

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
        self._index_writer = IndexWriter(database)

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
        """Stores a file of a run or a logged model, in place of one that is there. Of several
        uploads to one path, the last to finish wins.

        Raises NotFoundError where there is no such run or model, InvalidStateError where it is
        deleted, ConflictError where the path leads through a file or is a folder, InvalidValueError
        where the body differs from what was declared, StalledError where the client stops sending,
        QuotaExceededError where the tenant's quota has no room, InsufficientStorageError where the
        store is full.
        """
        uploaded = await self.upload_unpublished(
            tenant,
            path,
            body,
            content_length=content_length,
            content_type=content_type,
            digests=digests,
        )
        return await self.publish(tenant, uploaded, path)

    async def upload_unpublished(
        self,
        tenant: Tenant,
        path: str,
        body: AsyncIterator[bytes],
        *,
        content_length: int | None,
        content_type: str,
        digests: Sequence[Digest] = (),
        path_is_final: bool = True,
    ) -> UnpublishedObject:
        """Uploads an unpublished object; then call `publish` or `discard`.

        Where the path is not final, the object may be published at another path of the same run or
        model, and only `publish` checks the path against the index. Raises what `put` does.
        """
        if path_is_final and not is_small(content_length):
            await self.check_can_store(tenant, path)
        else:
            # A small body arrives sooner than an answer of the database; `publish` checks its path.
            owner_of(path)
        object_id = new_uuid()
        reservation = await self.reservations.reserve(tenant, object_id, content_length)
        body = unless_stalled(body)
        if reservation is not None:
            body = reservation.metered(body)
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
            await self._clean_up(tenant, path, object_id, reservation, error)
            raise
        return UnpublishedObject(path, object_id, stored, content_type, reservation)

    async def _clean_up(
        self,
        tenant: Tenant,
        path: str,
        object_id: UUID,
        reservation: Reservation | None,
        error: BaseException,
    ) -> None:
        """Removes what a failed upload or copy may have left."""
        if isinstance(error, asyncio.CancelledError):
            # The store may have completed the object just before the cancellation.
            await self._delete_object(tenant, path, object_id)
        if reservation is not None:
            await reservation.release()

    async def publish(self, tenant: Tenant, uploaded: UnpublishedObject, path: str) -> Artifact:
        """Makes the object the file at `path`, which may differ from the path that it was uploaded
        for. Raises what `put` does, after it has discarded the object."""
        try:
            if path != uploaded.path:
                uploaded = await self._move(tenant, uploaded, path)
            return await self._write_row(tenant, uploaded)
        except (
            ConflictError,
            InsufficientStorageError,
            InvalidStateError,
            InvalidValueError,
            NotFoundError,
        ):
            await self.discard(tenant, uploaded)
            raise
        finally:
            if uploaded.reservation is not None:
                uploaded.reservation.stop_renewing()

    async def _move(
        self, tenant: Tenant, uploaded: UnpublishedObject, path: str
    ) -> UnpublishedObject:
        owner_of(path)
        async with self._slots.taken(tenant.slug):
            copied = await self.store.copy(
                tenant.slug, uploaded.key, object_key(path, uploaded.object_id)
            )
        await self.discard(tenant, uploaded)
        return replace(
            uploaded, path=path, stored=replace(copied, checksum=uploaded.stored.checksum)
        )

    async def discard(self, tenant: Tenant, uploaded: UnpublishedObject) -> None:
        """Deletes an unpublished object and its reservation."""
        await self._delete_object(tenant, uploaded.path, uploaded.object_id)
        if uploaded.reservation is not None:
            await uploaded.reservation.release()

    async def check_can_store(self, tenant: Tenant, path: str) -> None:
        """Raises what `put` does where no file can be stored at the path: NotFoundError,
        InvalidStateError, ConflictError or InvalidValueError."""
        owner = owner_of(path)
        async with self._database.write_pipeline(tenant) as connection:
            found = await repository.check_path(connection, tenant, owner, path)
        if found is None:
            raise owner.not_found_error()
        deleted_time, through_file, is_folder = found
        if deleted_time is not None:
            raise owner.not_active_error(deleted_time)
        check_unobstructed(path, through_file, is_folder)

    async def _write_row(self, tenant: Tenant, uploaded: UnpublishedObject) -> Artifact:
        """Writes the row of the file, and deletes the object of the file that it replaces.

        Raises NotFoundError or InvalidStateError where the run or the model is gone by now, and
        ConflictError where another upload has obstructed the path.
        """
        path, object_id, stored = uploaded.path, uploaded.object_id, uploaded.stored
        artifact = Artifact(
            path,
            stored.size,
            stored.etag,
            uploaded.content_type,
            now_ms(),
            object_id,
            stored.checksum,
        )
        replaced = await self._index_writer.write(
            tenant,
            NewFile(
                path,
                owner_of(path),
                object_id,
                stored,
                uploaded.content_type,
                artifact.updated_time,
                uploaded.reservation is not None,
            ),
        )
        if replaced:
            await self._delete_object(tenant, path, replaced.object_id)
        return artifact

    async def _delete_object(self, tenant: Tenant, path: str, object_id: UUID | None) -> None:
        """Deletes an object without a row, or leaves it to garbage collection where the store does
        not answer."""
        try:
            await self.store.delete(tenant.slug, [object_key(path, object_id)])
        except (InsufficientStorageError, UnavailableError) as error:
            log.warning("an object without a row is left to garbage collection: %s", error)

    async def copy(self, tenant: Tenant, source: Artifact, path: str) -> Artifact:
        """Copies a file to the path, where the store can without moving its bytes through this
        process. Raises what `put` does, and NotFoundError where the source is gone."""
        await self.check_can_store(tenant, path)
        object_id = new_uuid()
        reservation = await self.reservations.reserve(tenant, object_id, source.size)
        try:
            key = object_key(path, object_id)
            source, copied = await self._copy_object(tenant, source, key, reservation)
        except BaseException as error:
            await self._clean_up(tenant, path, object_id, reservation, error)
            raise
        stored = replace(copied, checksum=source.sha256)
        uploaded = UnpublishedObject(path, object_id, stored, source.content_type, reservation)
        return await self.publish(tenant, uploaded, path)

    async def _copy_object(
        self, tenant: Tenant, source: Artifact, key: str, reservation: Reservation | None
    ) -> tuple[Artifact, StoredObject]:
        """The file that was copied, which may have replaced the source, and its copy."""
        while True:
            try:
                async with self._slots.taken(tenant.slug):
                    return source, await self.store.copy(tenant.slug, source.key, key)
            except NotFoundError:
                source = await self._get_replacement(tenant, source)
                if reservation is not None:
                    await reservation.ensure(source.size)

    async def take_slot(self, tenant: Tenant) -> Slot:
        """A transfer slot of the tenant, for a transfer that reads several files. The caller gives
        it back. Raises UnavailableError where none becomes free for 8 seconds."""
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
        """A reader of the bytes [start, end); the caller closes it.

        Where the artifact was replaced since it was read, these are the bytes of the file that
        replaced it. Takes a transfer slot unless the caller has one. Raises NotFoundError where the
        file was deleted.
        """
        if slot is not None:
            return await self._open_current(tenant, artifact, start, end)
        slot = await self._slots.take(tenant.slug)
        try:
            reader = await self._open_current(tenant, artifact, start, end)
        except BaseException:
            slot.give_back()
            raise
        reader.on_close(slot.give_back)
        return reader

    async def _open_current(
        self, tenant: Tenant, artifact: Artifact, start: int, end: int | None
    ) -> ObjectReader:
        while True:
            try:
                return await self.store.open(tenant.slug, artifact.key, start=start, end=end)
            except NotFoundError:
                artifact = await self._get_replacement(tenant, artifact)

    async def _get_replacement(self, tenant: Tenant, gone: Artifact) -> Artifact:
        """The file that replaced one whose object is gone. Raises NotFoundError where there is
        none."""
        current = await self.get(tenant, gone.path)
        if current.object_id == gone.object_id:
            raise ArtifactNotFoundError(gone.path)
        return current

    async def delete(self, tenant: Tenant, path: str) -> None:
        """Deletes a file, or all files below a folder. Raises NotFoundError where there is none."""
        found = False
        async for _ in self.delete_each(tenant, path):
            found = True
        if not found:
            raise ArtifactNotFoundError(path)

    async def delete_each(self, tenant: Tenant, *paths: str) -> AsyncIterator[Artifact]:
        """Deletes files at the paths and all files below them, and yields each deleted file."""
        while True:
            async with self._database.write_pipeline(tenant) as connection:
                deleted = await repository.delete_files(connection, tenant, paths, limit=CHUNK)
                if deleted:
                    target = posixpath.commonpath(paths)
                    await trail.record(
                        connection, tenant, "artifacts.delete", target, files=len(deleted)
                    )
            await self.store.delete(tenant.slug, [artifact.key for artifact in deleted])
            for artifact in deleted:
                yield artifact
            if len(deleted) < CHUNK:
                return

    async def close(self) -> None:
        """Closes the store."""
        await self.store.close()
