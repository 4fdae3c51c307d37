"""Files entered into the index. What waits together shares a transaction (`app.db.coalescer`)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from uuid import UUID

import msgspec
import psycopg
from psycopg.types.json import Json

from app.artifacts import sql
from app.artifacts.artifact_owner import Owner
from app.artifacts.stores.values import StoredObject
from app.db.coalescer import Coalescer
from app.db.database import Database
from app.kernel.errors import ConflictError, TrackingError
from app.kernel.tenant import Tenant

# What is counted are the paths that a file locks, its own and those of its folders: Postgres has
# room for 64 locks of each of its connections, on an average.
_MAX_BATCH = 500
_MAX_WAITING = 50_000


@dataclass(frozen=True, slots=True)
class NewFile:
    """An object that is to be the file at `path`, which is its owner's. Where it is `reserved`,
    its reservation ends."""

    path: str
    owner: Owner
    object_id: UUID
    stored: StoredObject
    content_type: str
    updated_time: int
    reserved: bool = False


@dataclass(frozen=True, slots=True)
class Replaced:
    """The file that was there before; `object_id` is None where it lies at the path itself."""

    object_id: UUID | None


Recording = Coalescer[NewFile, Replaced | None]


def recording(database: Database) -> Recording:
    """A worker's queue of new files; answers what each has replaced.

    Raises for a file NotFoundError where there is no such run or model, InvalidStateError where it
    is deleted, ConflictError where a file stands in for a folder of its path or a folder for it.
    """
    return Coalescer(
        partial(_record, database),
        max_batch=_MAX_BATCH,
        max_waiting=_MAX_WAITING,
        size=lambda file: 1 + len(file.owner.folders),
    )


def check_nothing_in_the_way(path: str, through_file: bool, is_folder: bool) -> None:
    """Raises ConflictError for what the index found at a path, and on the way to it."""
    if through_file or is_folder:
        raise ConflictError(
            f"'{path}' is a folder" if is_folder else f"'{path}' leads through a file",
            field="path",
        )


async def _record(
    database: Database, tenant: Tenant, files: Sequence[NewFile]
) -> list[Replaced | TrackingError | None]:
    async with database.write_pipeline(tenant) as connection:
        await connection.execute(sql.LOCK_PATHS, _locks(tenant, files))
        entered = [
            (some, await _enter(connection, tenant, some)) for some in _without_clashes(files)
        ]
        return [
            _answer(file, *row)
            for some, cursor in entered
            for file, row in zip(some, await cursor.fetchall(), strict=True)
        ]


def _locks(tenant: Tenant, files: Sequence[NewFile]) -> dict[str, object]:
    """Each path once. All take them in one order, from the top down, and never wait for each
    other's in a circle."""
    alone = {file.path for file in files}
    paths = sorted(alone.union(*(file.owner.folders for file in files)))
    places = [{"path": path, "alone": path in alone} for path in paths]
    return {"tenant": tenant.id, "places": _json(places)}


def _without_clashes(files: Sequence[NewFile]) -> Iterator[list[NewFile]]:
    """The files in their order, a list for each statement: one can't see what it enters itself, so
    what stands in another's way, or takes its place, has to be in a later one."""
    for _, of_a_kind in groupby(files, key=lambda file: file.owner.record):
        some: list[NewFile] = []
        paths: set[str] = set()
        folders: set[str] = set()
        for file in of_a_kind:
            clashes = file.path in paths or file.path in folders
            if clashes or not paths.isdisjoint(file.owner.folders):
                yield some
                some, paths, folders = [], set(), set()
            some.append(file)
            paths.add(file.path)
            folders.update(file.owner.folders)
        yield some


async def _enter(
    connection: psycopg.AsyncConnection, tenant: Tenant, files: Sequence[NewFile]
) -> psycopg.AsyncCursor:
    given = [
        {
            "owner": file.owner.key,
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
    owner = files[0].owner
    statement = owner.record_reserved if any(file.reserved for file in files) else owner.record
    return await connection.execute(statement, {"tenant": tenant.id, "files": _json(given)})


def _json(rows: object) -> Json:
    """One value for all: the driver takes longer over each of many arrays of text."""
    return Json(rows, dumps=msgspec.json.encode)


def _answer(
    file: NewFile,
    found: bool,
    deleted_time: int | None,
    through_file: bool,
    is_folder: bool,
    replaces: bool,
    replaced_id: UUID | None,
) -> Replaced | TrackingError | None:
    if not found:
        return file.owner.absent
    if deleted_time is not None:
        return file.owner.not_active(deleted_time)
    try:
        check_nothing_in_the_way(file.path, through_file, is_folder)
    except ConflictError as error:
        return error
    # One that is recorded again has nothing to be cleaned up.
    return Replaced(replaced_id) if replaces and replaced_id != file.object_id else None
