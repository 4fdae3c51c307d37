"""Group commit of new files: concurrent uploads of a tenant share one transaction, and each is
answered after its commit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from uuid import UUID

import msgspec
from psycopg.types.json import Json

from app.artifacts import sql
from app.artifacts.artifact_owner import Owner
from app.artifacts.stores.values import StoredObject
from app.db.coalescer import Coalescer
from app.db.database import Database
from app.db.pipeline import Cursor, Pipeline
from app.kernel.errors import ConflictError, TrackingError
from app.kernel.tenant import Tenant

# A file counts for the paths that it locks, its own and those of its folders: Postgres has room for
# 64 locks per connection on average.
_MAX_BATCH = 500
_MAX_WAITING = 50_000


@dataclass(frozen=True, slots=True)
class NewFile:
    """A row to write: the object that becomes the file at `path`. Where the object is `reserved`,
    its reservation is deleted in the same statement."""

    path: str
    owner: Owner
    object_id: UUID
    stored: StoredObject
    content_type: str
    updated_time: int
    reserved: bool = False


@dataclass(frozen=True, slots=True)
class ReplacedFile:
    """The file that was at the path before. `object_id` is None where its object has the path as
    its key."""

    object_id: UUID | None


class IndexWriter:
    """Writes the rows of new files."""

    def __init__(self, database: Database) -> None:
        self._queue: Coalescer[NewFile, ReplacedFile | None] = Coalescer(
            partial(_write_batch, database),
            max_batch=_MAX_BATCH,
            max_waiting=_MAX_WAITING,
            size=lambda file: 1 + len(file.owner.folders),
        )

    async def write(self, tenant: Tenant, file: NewFile) -> ReplacedFile | None:
        """Returns, once committed, the file that was replaced, or None.

        Raises NotFoundError where there is no such run or model, InvalidStateError where it is
        deleted, ConflictError where the path leads through a file or is a folder.
        """
        return await self._queue.submit(tenant, file)


def check_unobstructed(path: str, through_file: bool, is_folder: bool) -> None:
    """Raises ConflictError where the path leads through a file or is a folder."""
    if through_file or is_folder:
        raise ConflictError(
            f"'{path}' is a folder" if is_folder else f"'{path}' leads through a file",
            field="path",
        )


async def _write_batch(
    database: Database, tenant: Tenant, files: Sequence[NewFile]
) -> list[ReplacedFile | TrackingError | None]:
    async with database.write_pipeline(tenant) as connection:
        await connection.execute(sql.LOCK_PATHS, _locks(tenant, files))
        executed = [
            (group, await _upsert(connection, tenant, group)) for group in _split_clashes(files)
        ]
        return [
            _result(file, *row)
            for group, cursor in executed
            for file, row in zip(group, await cursor.fetchall(), strict=True)
        ]


def _locks(tenant: Tenant, files: Sequence[NewFile]) -> dict[str, object]:
    """Each path once. All transactions lock paths in the same order, parents first, so that they
    can't deadlock."""
    exclusive = {file.path for file in files}
    paths = sorted(exclusive.union(*(file.owner.folders for file in files)))
    places = [{"path": path, "alone": path in exclusive} for path in paths]
    return {"tenant": tenant.id, "places": _json(places)}


def _split_clashes(files: Sequence[NewFile]) -> Iterator[list[NewFile]]:
    """Splits the files, in order, into groups for one statement each. A statement does not see the
    rows that it writes: a file that obstructs or replaces another has to be in a later statement.
    """
    for _, same_kind in groupby(files, key=lambda file: file.owner.kind):
        group: list[NewFile] = []
        paths: set[str] = set()
        folders: set[str] = set()
        for file in same_kind:
            clashes = file.path in paths or file.path in folders
            if clashes or not paths.isdisjoint(file.owner.folders):
                yield group
                group, paths, folders = [], set(), set()
            group.append(file)
            paths.add(file.path)
            folders.update(file.owner.folders)
        yield group


async def _upsert(connection: Pipeline, tenant: Tenant, files: Sequence[NewFile]) -> Cursor:
    rows = [
        {
            "owner": file.owner.id,
            "experiment": file.owner.experiment_id,
            "path": file.path,
            "parents": file.owner.parents,
            "size": file.stored.size,
            "etag": file.stored.etag,
            "content_type": file.content_type,
            "updated_time": file.updated_time,
            "object_id": file.object_id,
            "sha256": file.stored.checksum,
        }
        for file in files
    ]
    kind = files[0].owner.kind
    reserved = any(file.reserved for file in files)
    statement = sql.UPSERT_RESERVED_FILES[kind] if reserved else sql.UPSERT_FILES[kind]
    return await connection.execute(statement, {"tenant": tenant.id, "files": _json(rows)})


def _json(rows: object) -> Json:
    """All rows as one value: the driver takes longer to encode many arrays of text."""
    return Json(rows, dumps=msgspec.json.encode)


def _result(
    file: NewFile,
    found: bool,
    deleted_time: int | None,
    through_file: bool,
    is_folder: bool,
    replaces: bool,
    replaced_id: UUID | None,
) -> ReplacedFile | TrackingError | None:
    if not found:
        return file.owner.not_found_error()
    if deleted_time is not None:
        return file.owner.not_active_error(deleted_time)
    try:
        check_unobstructed(file.path, through_file, is_folder)
    except ConflictError as error:
        return error
    # Where the row is written again for the same object, that object must not be deleted.
    return ReplacedFile(replaced_id) if replaces and replaced_id != file.object_id else None
