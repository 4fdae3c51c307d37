"""Reads, checks and deletions of the artifact index, by the statements of `app.artifacts.sql`.

Every function is one round trip on a connection of `Database.read_pipeline` or `write_pipeline`.
"""

from collections.abc import Sequence
from typing import Any

from app.artifacts import sql
from app.artifacts.artifact_owner import Owner
from app.artifacts.entities import Artifact, ListingEntry
from app.db.pipeline import Pipeline
from app.kernel.tenant import Tenant

Connection = Pipeline


async def get(connection: Connection, tenant: Tenant, path: str) -> Artifact | None:
    """The file at the path; None where there is none."""
    rows = await _fetch(connection, sql.GET, tenant=tenant.id, path=path)
    return Artifact(*rows[0]) if rows else None


async def first_files(
    connection: Connection, tenant: Tenant, folders: Sequence[str], *, limit: int
) -> list[tuple[str, str]]:
    """The first `limit` files below each folder, as (folder, path)."""
    return await _fetch(
        connection, sql.FIRST_FILES, tenant=tenant.id, folders=list(folders), limit=limit
    )


async def list_folder(
    connection: Connection, tenant: Tenant, folder: str, *, after: str, limit: int | None
) -> list[ListingEntry]:
    """Files and folders directly in a folder, in order, from the path `after` on; all of them where
    `limit` is None."""
    rows = await _fetch(
        connection,
        sql.LIST,
        tenant=tenant.id,
        folder=folder,
        start=len(folder) + 2,
        after=after,
        limit=limit,
    )
    return [
        ListingEntry(path, True, None, None, None) if is_dir else ListingEntry(path, False, *facts)
        for path, is_dir, *facts in rows
    ]


async def shown_at(
    connection: Connection,
    tenant: Tenant,
    shown: str,
    *,
    names: Sequence[str],
    start: int,
    limit: int,
) -> list[str]:
    """Paths of files at or below `names`, and of up to `limit` files with a `%` where `shown` has
    another character, from its character `start` on."""
    rows = await _fetch(
        connection,
        sql.SHOWN_AT,
        tenant=tenant.id,
        shown=shown,
        names=list(names),
        start=start,
        limit=limit,
    )
    return [path for (path,) in rows]


async def sum_sizes(
    connection: Connection, tenant: Tenant, folders: Sequence[str], *, max_files: int
) -> list[tuple[int, int]]:
    """Number and bytes of the files below each folder, counted up to `max_files` + 1 files."""
    return await _fetch(
        connection, sql.SIZES, tenant=tenant.id, folders=list(folders), most=max_files
    )


async def files_below(
    connection: Connection, tenant: Tenant, folder: str, *, after: str, limit: int
) -> list[Artifact]:
    """Files below a folder, at any depth, whose paths sort after `after`, in order."""
    rows = await _fetch(
        connection, sql.WALK, tenant=tenant.id, folder=folder, after=after, limit=limit
    )
    return [Artifact(*row) for row in rows]


async def check_path(
    connection: Connection, tenant: Tenant, owner: Owner, path: str
) -> tuple[int | None, bool, bool] | None:
    """What could keep a file from being stored at the path, as (when its owner was deleted, whether
    the path leads through a file, whether it is a folder); None where there is no such owner."""
    rows = await _fetch(
        connection,
        sql.CHECK_PATH[owner.kind],
        tenant=tenant.id,
        owner=owner.id,
        experiment=owner.experiment_id,
        parents=owner.parents,
        path=path,
    )
    return rows[0] if rows else None


async def delete_files(
    connection: Connection, tenant: Tenant, paths: Sequence[str], *, limit: int
) -> list[Artifact]:
    """Deletes the rows of files at the paths, and of up to `limit` files below them; returns what
    it deleted."""
    rows = await _fetch(
        connection, sql.DELETE_FILES, tenant=tenant.id, paths=list(paths), limit=limit
    )
    return [Artifact(*row) for row in rows]


async def _fetch(connection: Connection, statement: str, **values: object) -> list[Any]:
    cursor = await connection.execute(statement, values)
    return await cursor.fetchall()
