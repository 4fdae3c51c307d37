"""Compares the store with the index, and removes orphaned objects, lost files and old uploads.

An object is written before its row and deleted after it. So an object without a row is an orphan,
once it is too old for an upload whose row is still to be written. A row without an object is a file
that the store has lost. Both sides are read page by page.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from app.artifacts.entities import Artifact
from app.artifacts.object_keys import path_and_id
from app.artifacts.service import Artifacts
from app.artifacts.stores.contract import ArtifactStore
from app.artifacts.stores.values import StoredKey
from app.audit import trail
from app.db.database import Database
from app.gc import sql
from app.gc.report import Progress, Report
from app.kernel.clock import now_ms
from app.kernel.errors import InvalidStateError
from app.kernel.tenant import Tenant

log = logging.getLogger(__name__)

_PAGE = 1000
_CONCURRENT_STATS = 16

T = TypeVar("T")


class Orphans:
    """Orphans in one tenant's part of the store. `before` is in epoch milliseconds: what was
    written since then is left alone, since its upload may still be running."""

    def __init__(
        self,
        database: Database,
        store: ArtifactStore,
        artifacts: Artifacts,
        tenant: Tenant,
        report: Report,
        progress: Progress,
    ) -> None:
        self._database = database
        self._store = store
        self._artifacts = artifacts
        self._tenant = tenant
        self._report = report
        self._progress = progress

    async def sweep_uploads(self, before: int, *, delete: bool) -> None:
        """Removes uploads that have received no bytes since `before`: their process or their client
        has died."""
        async for page in _pages(self._store.unfinished(self._tenant.slug)):
            dead = [upload for upload in page if upload.modified_time < before]
            self._report.uploads += len(dead)
            if delete and dead:
                await self._audit("gc.uploads", uploads=len(dead))
                for upload in dead:
                    await self._store.discard(self._tenant.slug, upload)

    async def delete_expired_reservations(self) -> None:
        """Deletes expired quota reservations. They do not count any more, and are not reported."""
        async with self._database.write_pipeline(self._tenant) as connection:
            values = {"tenant": self._tenant.id, "now": now_ms()}
            await connection.execute(sql.DELETE_EXPIRED_RESERVATIONS, values)

    async def sweep_objects(self, before: int, *, delete: bool) -> None:
        """Removes objects without a row, and rows without an object.

        Raises InvalidStateError where the index has files and the store has none of them: the
        settings name another store, and no row is removed.
        """
        started = now_ms()
        expected = await self._count_files(started)
        files_seen = objects_seen = 0
        async for page in _pages(self._store.keys(self._tenant.slug)):
            files = await self._files_among(page)
            files_seen += sum(written < started for written in files.values())
            orphans = [
                found
                for position, found in enumerate(page, start=1)
                if position not in files and found.modified_time < before
            ]
            for found in orphans:
                self._report.orphans.add(found.size)
            if delete and orphans:
                await self._delete(orphans)
            objects_seen += len(page)
            self._progress("looking at objects", objects_seen, expected)
        # Files that were replaced or deleted meanwhile are missing here too; `_sweep_rows` looks at
        # each file again.
        if files_seen < expected:
            await self._sweep_rows(expected, delete=delete, found_any=files_seen > 0)

    async def _delete(self, orphans: Sequence[StoredKey]) -> None:
        size = sum(found.size for found in orphans)
        await self._audit("gc.objects", objects=len(orphans), bytes=size)
        await self._store.delete(self._tenant.slug, [found.key for found in orphans])

    async def _audit(self, action: str, **counts: int) -> None:
        """Writes the audit log before the removal: an entry without a removal is better than a
        removal without an entry."""
        async with self._database.write_pipeline(self._tenant) as connection:
            await trail.record(connection, self._tenant, action, self._tenant.slug, **counts)

    async def _sweep_rows(self, expected: int, *, delete: bool, found_any: bool) -> None:
        files_seen = 0
        async for page in _pages(self._artifacts.walk(self._tenant, "experiments")):
            for start in range(0, len(page), _CONCURRENT_STATS):
                batch = page[start : start + _CONCURRENT_STATS]
                objects = await asyncio.gather(
                    *(self._store.stat(self._tenant.slug, artifact.key) for artifact in batch)
                )
                for artifact, stored in zip(batch, objects, strict=True):
                    if stored is None:
                        await self._remove_lost(artifact, delete=delete, found_any=found_any)
            files_seen += len(page)
            self._progress("looking for files", files_seen, expected)

    async def _remove_lost(self, artifact: Artifact, *, delete: bool, found_any: bool) -> None:
        if delete and not found_any:
            raise InvalidStateError(
                f"The store has none of the files of tenant '{self._tenant.slug}': check the"
                " settings of the store; the files' rows were not removed"
            )
        async with self._database.write_pipeline(self._tenant) as connection:
            cursor = await connection.execute(
                sql.DELETE_FILE if delete else sql.FIND_FILE,
                {
                    "tenant": self._tenant.id,
                    "path": artifact.path,
                    "object": artifact.object_id,
                },
            )
            row = await cursor.fetchone()
            if row is not None and delete:
                await trail.record(connection, self._tenant, "gc.lost_file", artifact.path)
        if row is not None:  # else the file was replaced or deleted since its page was read
            self._report.lost.add(artifact.size)
            log.warning("lost artifact of tenant %s: %s", self._tenant.slug, artifact.path)

    async def _count_files(self, before: int) -> int:
        async with self._database.write_pipeline(self._tenant) as connection:
            cursor = await connection.execute(
                sql.COUNT_FILES, {"tenant": self._tenant.id, "before": before}
            )
            row = await cursor.fetchone()
        return row[0] if row else 0

    async def _files_among(self, page: Sequence[StoredKey]) -> dict[int, int]:
        """The objects of the page that are files: position in the page, from 1 on, to the time when
        the row was written."""
        origins = [path_and_id(found.key) for found in page]
        async with self._database.write_pipeline(self._tenant) as connection:
            cursor = await connection.execute(
                sql.FIND_OBJECTS,
                {
                    "tenant": self._tenant.id,
                    "keys": [found.key for found in page],
                    "paths": [path for path, _ in origins],
                    "objects": [object_id for _, object_id in origins],
                },
            )
            return dict(await cursor.fetchall())


async def _pages(items: AsyncIterator[T]) -> AsyncIterator[list[T]]:
    """Groups the items into lists of _PAGE items."""
    page: list[T] = []
    async for item in items:
        page.append(item)
        if len(page) == _PAGE:
            yield page
            page = []
    if page:
        yield page
