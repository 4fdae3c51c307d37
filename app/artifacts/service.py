"""Artifacts: the bytes in the store, and the index of them in Postgres.

A file's bytes are stored before its row is written, and its row goes before its bytes do: a crash
leaves bytes that nobody sees, never a row without bytes. Each upload is an object of its own, and
the row says which one is the file: what replaces a file, or deletes it, can't touch the bytes of a
later one. No transfer holds a connection to the database.
"""

import logging
import posixpath
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from uuid import UUID

from app.artifacts import page_tokens, sql
from app.artifacts.checksums import Digest
from app.artifacts.entities import Artifact, Entry, Received
from app.artifacts.keys import object_key
from app.artifacts.limits import TransferSlots, unless_stalled
from app.artifacts.owners import owner_of
from app.artifacts.reader import ObjectReader
from app.artifacts.receiving import is_small
from app.artifacts.recording import NewFile, check_nothing_in_the_way, recording
from app.artifacts.store import ArtifactStore, StoredObject
from app.audit import trail
from app.clock import now_ms
from app.db.database import Database
from app.errors import (
    ConflictError,
    InsufficientStorageError,
    InvalidStateError,
    InvalidValueError,
    NotFoundError,
    UnavailableError,
)
from app.experiments.entities import ARTIFACT_SCHEME
from app.ids import new_uuid
from app.runs.entities import Placed
from app.tenancy.quotas import Quotas
from app.tenancy.tenant import Tenant

log = logging.getLogger(__name__)

# How many rows one statement reads or deletes.
_CHUNK = 1000
_MOST_SUMMED = 10_000


class Artifacts:
    """Paths have been through `app.artifacts.paths`. Those of another tenant do not exist here."""

    def __init__(
        self,
        database: Database,
        store: ArtifactStore,
        quotas: Quotas | None = None,
        slots: TransferSlots | None = None,
    ) -> None:
        self._database = database
        self._store = store
        self._quotas = quotas
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
        room = await self.check_room(tenant, content_length)
        if self._quotas is not None and room is not None:
            body = self._quotas.bounded(tenant, body, room)
        async with self._slots.taken(tenant.slug):
            stored = await self._store.put(
                tenant.slug,
                object_key(path, object_id),
                unless_stalled(body),
                content_length=content_length,
                content_type=content_type,
                digests=digests,
            )
        return Received(path, object_id, stored, content_type)

    async def keep(self, tenant: Tenant, received: Received, path: str) -> Artifact:
        """Make what was received the file at the path, which may be another one than it was
        received for. Raises what `put` does; then nothing of it is left."""
        try:
            if path != received.path:
                received = await self._moved(tenant, received, path)
            return await self.record(
                tenant, path, received.object_id, received.stored, received.content_type
            )
        except (
            ConflictError,
            InsufficientStorageError,
            InvalidStateError,
            InvalidValueError,
            NotFoundError,
        ):
            await self.discard(tenant, received)
            raise

    async def _moved(self, tenant: Tenant, received: Received, path: str) -> Received:
        owner_of(path)
        async with self._slots.taken(tenant.slug):
            copied = await self._store.copy(
                tenant.slug, received.key, object_key(path, received.object_id)
            )
        await self.discard(tenant, received)
        return replace(
            received, path=path, stored=replace(copied, checksum=received.stored.checksum)
        )

    async def discard(self, tenant: Tenant, received: Received) -> None:
        """Remove what was received."""
        await self._discard(tenant, received.path, received.object_id)

    async def check_room(self, tenant: Tenant, size: int | None = None) -> int | None:
        """How many bytes the tenant may still store; None for any number. Raises
        QuotaExceededError where it has no room for a file of that size."""
        if self._quotas is None:
            return None
        return await self._quotas.room_for_artifacts(tenant, size)

    async def begin(self, tenant: Tenant, path: str) -> UUID:
        """The id of a new object, whose bytes go to `object_key` before `record` makes it the file
        at the path. Raises what `put` does for a path that no file can have."""
        owner = owner_of(path)
        parameters = owner.parameters | {"tenant": tenant.id, "path": path}
        async with self._database.pipeline(tenant) as connection:
            cursor = await connection.execute(owner.check, parameters)
            row = await cursor.fetchone()
        if row is None:
            raise owner.absent
        deleted_time, through_file, is_folder = row
        if deleted_time is not None:
            raise owner.not_active(deleted_time)
        check_nothing_in_the_way(path, through_file, is_folder)
        return new_uuid()

    async def record(
        self,
        tenant: Tenant,
        path: str,
        object_id: UUID,
        stored: StoredObject,
        content_type: str,
    ) -> Artifact:
        """Make a stored object the file at the path, in place of one that is there.

        Raises NotFoundError or InvalidStateError where the run or the model is gone by now, and
        ConflictError where another upload has got in the way; the object is then left to the
        caller, or to garbage collection.
        """
        artifact = Artifact(
            path, stored.size, stored.etag, content_type, now_ms(), object_id, stored.checksum
        )
        replaced = await self._recording.submit(
            tenant,
            NewFile(path, owner_of(path), object_id, stored, content_type, artifact.updated_time),
        )
        if replaced:
            await self._discard(tenant, path, replaced.object_id)
        return artifact

    async def _discard(self, tenant: Tenant, path: str, object_id: UUID | None) -> None:
        """Delete an object that no row names."""
        try:
            await self._store.delete(tenant.slug, [object_key(path, object_id)])
        except (InsufficientStorageError, UnavailableError) as error:
            log.warning("an object without a row is left to garbage collection: %s", error)

    async def copy(self, tenant: Tenant, source: Artifact, path: str) -> Artifact:
        """Make a copy of a file the file at the path, without moving its bytes through this process
        where the store can. Raises what `put` does, and NotFoundError where the source is gone."""
        object_id = await self.begin(tenant, path)
        while True:
            try:
                async with self._slots.taken(tenant.slug):
                    copied = await self._store.copy(
                        tenant.slug, source.key, object_key(path, object_id)
                    )
                break
            except NotFoundError:
                source = await self._replacement(tenant, source)
        stored = replace(copied, checksum=source.sha256)
        return await self.record(tenant, path, object_id, stored, source.content_type)

    async def get(self, tenant: Tenant, path: str) -> Artifact:
        """Raises NotFoundError where no file lies at the path."""
        async with self._database.pipeline(tenant) as connection:
            cursor = await connection.execute(sql.GET, {"tenant": tenant.id, "path": path})
            row = await cursor.fetchone()
        if row is None:
            raise artifact_absent(path)
        return Artifact(*row)

    async def open(
        self, tenant: Tenant, artifact: Artifact, *, start: int = 0, end: int | None = None
    ) -> ObjectReader:
        """The bytes from `start` up to and without `end`; the caller closes the reader.

        They are those of a later file where the artifact was replaced since it was read. Raises
        NotFoundError where it was deleted.
        """
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
                return await self._store.open(tenant.slug, artifact.key, start=start, end=end)
            except NotFoundError:
                artifact = await self._replacement(tenant, artifact)

    async def _replacement(self, tenant: Tenant, gone: Artifact) -> Artifact:
        """What replaced a file whose object is gone; NotFoundError where nothing did."""
        current = await self.get(tenant, gone.path)
        if current.object_id == gone.object_id:
            raise artifact_absent(gone.path)
        return current

    async def paths_of_runs(
        self, tenant: Tenant, runs: Sequence[Placed], *, limit: int = 100
    ) -> dict[UUID, list[str]]:
        """The first `limit` files of each run, as paths below the run's own folder."""
        folders = {run_folder(run): run.run_id for run in runs if is_ours(run)}
        paths: dict[UUID, list[str]] = {run.run_id: [] for run in runs}
        if not folders:
            return paths
        async with self._database.pipeline(tenant) as connection:
            cursor = await connection.execute(
                sql.FIRST_FILES,
                {"tenant": tenant.id, "folders": list(folders), "limit": limit},
            )
            for folder, path in await cursor.fetchall():
                paths[folders[folder]].append(path[len(folder) + 1 :])
        return paths

    async def list(
        self,
        tenant: Tenant,
        folder: str,
        *,
        limit: int | None = None,
        page_token: str | None = None,
    ) -> tuple[list[Entry], str | None]:
        """A page of what lies directly in a folder, in order, and the token of the next page.

        Its cost depends on the page and not on what the folder holds.
        """
        after = page_tokens.decode(folder, page_token) if page_token else f"{folder}/"
        async with self._database.pipeline(tenant) as connection:
            cursor = await connection.execute(
                sql.LIST,
                {
                    "tenant": tenant.id,
                    "folder": folder,
                    "start": len(folder) + 2,
                    "after": after,
                    "limit": None if limit is None else limit + 1,
                },
            )
            rows = await cursor.fetchall()
        entries = [
            Entry(path, True, None, None, None) if is_dir else Entry(path, False, *facts)
            for path, is_dir, *facts in rows
        ]
        if limit is None or len(entries) <= limit:
            return entries, None
        del entries[limit:]
        return entries, page_tokens.encode(entries[-1])

    async def sizes(self, tenant: Tenant, folders: Sequence[str]) -> Sequence[int | None]:
        """The bytes below each folder; None for one with more files than are summed while a client
        waits (10,000 take 3 ms)."""
        async with self._database.pipeline(tenant) as connection:
            cursor = await connection.execute(
                sql.SIZES,
                {"tenant": tenant.id, "folders": list(folders), "most": _MOST_SUMMED},
            )
            rows = await cursor.fetchall()
        return [size if files <= _MOST_SUMMED else None for files, size in rows]

    async def walk(self, tenant: Tenant, folder: str) -> AsyncIterator[Artifact]:
        """Every file below a folder, in order; no connection is held between two pages."""
        after = f"{folder}/"
        while True:
            async with self._database.pipeline(tenant) as connection:
                cursor = await connection.execute(
                    sql.WALK,
                    {"tenant": tenant.id, "folder": folder, "after": after, "limit": _CHUNK},
                )
                rows = await cursor.fetchall()
            for row in rows:
                yield Artifact(*row)
            if len(rows) < _CHUNK:
                return
            after = rows[-1][0]

    async def delete(self, tenant: Tenant, path: str) -> None:
        """Remove a file, or all that lies in a folder. NotFoundError where there is neither."""
        found = False
        async for _ in self.remove(tenant, path):
            found = True
        if not found:
            raise artifact_absent(path)

    async def remove(self, tenant: Tenant, *paths: str) -> AsyncIterator[Artifact]:
        """Remove files, or all that lies in folders, and tell what is gone."""
        while True:
            async with self._database.pipeline(tenant) as connection:
                cursor = await connection.execute(
                    sql.FORGET, {"tenant": tenant.id, "paths": list(paths), "limit": _CHUNK}
                )
                gone = [Artifact(*row) for row in await cursor.fetchall()]
                if gone:
                    target = posixpath.commonpath(paths)
                    await trail.record(
                        connection, tenant, "artifacts.delete", target, files=len(gone)
                    )
            await self._store.delete(tenant.slug, [artifact.key for artifact in gone])
            for artifact in gone:
                yield artifact
            if len(gone) < _CHUNK:
                return

    async def close(self) -> None:
        await self._store.close()


def is_ours(run: Placed) -> bool:
    """Whether the run's artifacts lie with this server, and not at a location of the user's."""
    return run.artifact_uri.startswith(ARTIFACT_SCHEME)


def run_folder(run: Placed) -> str:
    """The folder of a run's artifacts, from the tenant's root.

    Raises ConflictError where they lie at a location of the user's.
    """
    if not is_ours(run):
        raise ConflictError(
            f"The artifacts of run {run.run_id.hex} lie at {run.artifact_uri}, which only clients"
            " with credentials of their own can reach",
            field="run_id",
        )
    return run.artifact_uri.removeprefix(ARTIFACT_SCHEME)


def artifact_absent(path: str) -> NotFoundError:
    return NotFoundError(f"No such artifact: '{path}'", field="path")
