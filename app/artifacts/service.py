"""Artifacts: the bytes in the store, and the index of them in Postgres.

A file's bytes are stored before its row is written, and its row goes before its bytes do: a crash
leaves bytes that nobody sees, never a row without bytes. No transfer holds a connection to the
database.
"""

import base64
import binascii
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from app.artifacts import sql
from app.artifacts.store import ArtifactStore, ObjectReader
from app.audit import trail
from app.clock import now_ms
from app.db.database import Database
from app.errors import ConflictError, InvalidStateError, InvalidValueError, NotFoundError
from app.experiments.entities import ARTIFACT_SCHEME
from app.ids import parse_experiment_id, parse_run_id
from app.runs.entities import Placed
from app.runs.errors import run_absent, run_not_active
from app.tenancy.quotas import Quotas
from app.tenancy.tenant import Tenant

# How many rows one statement reads or deletes.
_CHUNK = 1000


@dataclass(frozen=True, slots=True)
class Artifact:
    """A stored file. `path` starts at the tenant's root; `size` is in bytes."""

    path: str
    size: int
    etag: str
    content_type: str
    updated_time: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a folder in a listing; a folder has only its path."""

    path: str
    is_dir: bool
    size: int | None
    content_type: str | None
    updated_time: int | None


class Artifacts:
    """Paths have been through `app.artifacts.paths`. Those of another tenant do not exist here."""

    def __init__(self, database: Database, store: ArtifactStore, quotas: Quotas) -> None:
        self._database = database
        self._store = store
        self._quotas = quotas

    async def put(
        self,
        tenant: Tenant,
        path: str,
        body: AsyncIterator[bytes],
        *,
        content_length: int | None,
        content_type: str,
    ) -> Artifact:
        """Store a file of a run or a logged model; the last whole one at a path stays.

        Raises NotFoundError where there is no such run or model, InvalidStateError where it is
        deleted, ConflictError where a file stands in for a folder of the path or a folder for its
        file, InvalidValueError where the body is not as long as declared, QuotaExceededError where
        the tenant has no room for it.
        """
        await self._check(tenant, path)
        room = await self._quotas.room_for_artifacts(tenant, content_length)
        if room is not None:
            body = self._quotas.bounded(tenant, body, room)
        stored = await self._store.put(
            tenant.slug, path, body, content_length=content_length, content_type=content_type
        )
        artifact = Artifact(path, stored.size, stored.etag, content_type, now_ms())
        async with self._database.pipeline(tenant) as connection:
            await connection.execute(
                sql.RECORD,
                {
                    "tenant": tenant.id,
                    "path": path,
                    "size": artifact.size,
                    "etag": artifact.etag,
                    "content_type": artifact.content_type,
                    "updated_time": artifact.updated_time,
                },
            )
        return artifact

    async def get(self, tenant: Tenant, path: str) -> Artifact:
        """Raises NotFoundError where no file lies at the path."""
        async with self._database.pipeline(tenant) as connection:
            cursor = await connection.execute(sql.GET, {"tenant": tenant.id, "path": path})
            row = await cursor.fetchone()
        if row is None:
            raise artifact_absent(path)
        return Artifact(*row)

    async def open(
        self, tenant: Tenant, path: str, *, start: int = 0, end: int | None = None
    ) -> ObjectReader:
        """The bytes from `start` up to and without `end`; the caller closes the reader.

        Raises NotFoundError where no file lies at the path.
        """
        try:
            return await self._store.open(tenant.slug, path, start=start, end=end)
        except NotFoundError as error:
            raise artifact_absent(path) from error

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
        after = _decode(folder, page_token) if page_token else f"{folder}/"
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
            Entry(path, size is None, size, content_type, updated_time)
            for path, size, content_type, updated_time in rows
        ]
        if limit is None or len(entries) <= limit:
            return entries, None
        del entries[limit:]
        return entries, _encode(entries[-1])

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
        while True:
            async with self._database.pipeline(tenant) as connection:
                cursor = await connection.execute(
                    sql.FORGET, {"tenant": tenant.id, "path": path, "limit": _CHUNK}
                )
                gone = [row[0] for row in await cursor.fetchall()]
                if gone:
                    await trail.record(
                        connection, tenant, "artifacts.delete", path, files=len(gone)
                    )
            if gone:
                found = True
                await self._store.delete(tenant.slug, gone)
            if len(gone) < _CHUNK:
                break
        if not found:
            raise artifact_absent(path)

    async def close(self) -> None:
        await self._store.close()

    async def _check(self, tenant: Tenant, path: str) -> None:
        owner = _owner(path)
        segments = path.split("/")
        parents = ["/".join(segments[:end]) for end in range(6, len(segments))]
        async with self._database.pipeline(tenant) as connection:
            cursor = await connection.execute(
                sql.CHECK_RUN if isinstance(owner.key, UUID) else sql.CHECK_MODEL,
                {
                    "tenant": tenant.id,
                    "owner": owner.key,
                    "experiment": owner.experiment_id,
                    "path": path,
                    "parents": parents,
                },
            )
            row = await cursor.fetchone()
        if row is None:
            raise owner.absent
        deleted_time, through_file, is_folder = row
        if deleted_time is not None:
            raise owner.not_active(deleted_time)
        if through_file or is_folder:
            raise ConflictError(
                f"'{path}' is a folder" if is_folder else f"'{path}' leads through a file",
                field="path",
            )


@dataclass(frozen=True, slots=True)
class _Owner:
    """The run or the logged model that a path belongs to, by its segments."""

    experiment_id: int
    key: UUID | str

    @property
    def absent(self) -> NotFoundError:
        if isinstance(self.key, UUID):
            return run_absent(self.key.hex)
        return NotFoundError(f"Logged model with ID '{self.key}' not found.", field="path")

    def not_active(self, deleted_time: int) -> InvalidStateError | NotFoundError:
        if isinstance(self.key, UUID):
            return run_not_active(self.key.hex, deleted_time)
        return self.absent


def _owner(path: str) -> _Owner:
    """Raises InvalidValueError for a path that is no run's and no model's file."""
    segments = path.split("/")
    if len(segments) > 5 and segments[0] == "experiments" and segments[4] == "artifacts":
        _, experiment, kind, name, *_ = segments
        experiment_id = parse_experiment_id(experiment)
        run_id = parse_run_id(name)
        if experiment_id is not None and kind == "runs" and run_id is not None:
            return _Owner(experiment_id, run_id)
        if experiment_id is not None and kind == "models":
            return _Owner(experiment_id, name)
    raise InvalidValueError(
        f"Invalid path: '{path}' is not below the artifact URI of a run or a logged model",
        field="path",
    )


def check_owned(path: str) -> None:
    """Raises InvalidValueError for a path that is outside the folders of runs and models."""
    _owner(f"{path}/")


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


def _encode(last: Entry) -> str:
    """A token that says where the next page starts: behind all of the last entry."""
    return base64.urlsafe_b64encode(
        (last.path + ("0" if last.is_dir else "\x01")).encode()
    ).decode()


def _decode(folder: str, page_token: str) -> str:
    with suppress(ValueError, binascii.Error):
        after = base64.b64decode(page_token.encode(), altchars=b"-_", validate=True).decode()
        if after.startswith(f"{folder}/") and "\x00" not in after:
            return after
    raise InvalidValueError(
        "Invalid page token: it must be the next_page_token of an earlier page of this folder",
        field="page_token",
    )
