"""Finds where the store and the index disagree, and removes what nobody can reach.

An object is written before its row and outlives it: one without a row is nobody's, once it is old
enough not to be an upload that is just being recorded. A row without an object is a file that the
store has lost. Both sides are read page by page.
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
_LOOKS_AT_ONCE = 16

T = TypeVar("T")


class Orphans:
    """What lies in one tenant's part of the store. `before` is epoch milliseconds: what was
    written since is left alone, since its writer may not be done with it."""

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
        """Uploads that got no bytes since: their process, or their client, has died."""
        async for page in _pages(self._store.unfinished(self._tenant.slug)):
            left = [upload for upload in page if upload.modified_time < before]
            self._report.uploads += len(left)
            if delete and left:
                await self._tell("gc.uploads", uploads=len(left))
                for upload in left:
                    await self._store.discard(self._tenant.slug, upload)

    async def forget_reservations(self) -> None:
        """Those that have ended count for nothing, and are not reported."""
        async with self._database.write_pipeline(self._tenant) as connection:
            values = {"tenant": self._tenant.id, "now": now_ms()}
            await connection.execute(sql.FORGET_RESERVATIONS, values)

    async def sweep_objects(self, before: int, *, delete: bool) -> None:
        """Objects that no row names, and rows whose objects are not there.

        Raises InvalidStateError where the index has files and the store none of them: this is not
        the store that belongs to it, and the rows are not removed.
        """
        started = now_ms()
        expected = await self._count_files(started)
        seen = looked_at = 0
        async for page in _pages(self._store.keys(self._tenant.slug)):
            files = await self._files_among(page)
            seen += sum(recorded < started for recorded in files.values())
            orphans = [
                found
                for place, found in enumerate(page, start=1)
                if place not in files and found.modified_time < before
            ]
            for found in orphans:
                self._report.orphans.add(found.size)
            if delete and orphans:
                await self._delete(orphans)
            looked_at += len(page)
            self._progress("looking at objects", looked_at, expected)
        # What was replaced or deleted meanwhile makes this differ too, and is then found to be so.
        if seen < expected:
            await self._sweep_rows(expected, delete=delete, found_any=seen > 0)

    async def _delete(self, orphans: Sequence[StoredKey]) -> None:
        size = sum(found.size for found in orphans)
        await self._tell("gc.objects", objects=len(orphans), bytes=size)
        await self._store.delete(self._tenant.slug, [found.key for found in orphans])

    async def _tell(self, action: str, **counts: int) -> None:
        """Beforehand: a removal that nobody tells of would be worse than one told of twice."""
        async with self._database.write_pipeline(self._tenant) as connection:
            await trail.record(connection, self._tenant, action, self._tenant.slug, **counts)

    async def _sweep_rows(self, expected: int, *, delete: bool, found_any: bool) -> None:
        looked_at = 0
        async for page in _pages(self._artifacts.walk(self._tenant, "experiments")):
            for start in range(0, len(page), _LOOKS_AT_ONCE):
                few = page[start : start + _LOOKS_AT_ONCE]
                there = await asyncio.gather(
                    *(self._store.stat(self._tenant.slug, artifact.key) for artifact in few)
                )
                for artifact, stored in zip(few, there, strict=True):
                    if stored is None:
                        await self._lost(artifact, delete=delete, found_any=found_any)
            looked_at += len(page)
            self._progress("looking for files", looked_at, expected)

    async def _lost(self, artifact: Artifact, *, delete: bool, found_any: bool) -> None:
        if delete and not found_any:
            raise InvalidStateError(
                f"The store has none of the files of tenant '{self._tenant.slug}': check the"
                " settings of the store; the files' rows were not removed"
            )
        async with self._database.write_pipeline(self._tenant) as connection:
            cursor = await connection.execute(
                sql.FORGET_FILE if delete else sql.FIND_FILE,
                {
                    "tenant": self._tenant.id,
                    "path": artifact.path,
                    "object": artifact.object_id,
                },
            )
            row = await cursor.fetchone()
            if row is not None and delete:
                await trail.record(connection, self._tenant, "gc.lost_file", artifact.path)
        if row is not None:  # else it was replaced or deleted since its page was read
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
        """The places in the page, from 1 on, of objects that are files, and when they became so."""
        parts = [path_and_id(found.key) for found in page]
        async with self._database.write_pipeline(self._tenant) as connection:
            cursor = await connection.execute(
                sql.FIND_OBJECTS,
                {
                    "tenant": self._tenant.id,
                    "keys": [found.key for found in page],
                    "paths": [path for path, _ in parts],
                    "objects": [object_id for _, object_id in parts],
                },
            )
            return dict(await cursor.fetchall())


async def _pages(items: AsyncIterator[T]) -> AsyncIterator[list[T]]:
    page: list[T] = []
    async for item in items:
        page.append(item)
        if len(page) == _PAGE:
            yield page
            page = []
    if page:
        yield page
