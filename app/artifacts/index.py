"""The artifact index, as it is read: what files there are, by their paths."""

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from app.artifacts import sql
from app.artifacts.entities import Artifact, Entry
from app.db.database import Database
from app.kernel.artifact_uris import ARTIFACT_SCHEME
from app.kernel.errors import ArtifactNotFoundError, ConflictError
from app.kernel.page_tokens import PageTokenCodec
from app.kernel.tenant import Tenant
from app.runs.entities import Placed

# How many rows one statement reads or deletes.
CHUNK = 1000
_MOST_SUMMED = 10_000

# A token holds the path that sorts behind all of the page's last entry.
_PAGE_TOKENS: PageTokenCodec[str] = PageTokenCodec(
    str, "it must be the next_page_token of an earlier page of this folder"
)


class ArtifactIndex:
    """Paths have been through `app.artifacts.paths`. Those of another tenant do not exist here."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, tenant: Tenant, path: str) -> Artifact:
        """Raises NotFoundError where no file lies at the path."""
        async with self._database.read_pipeline(tenant) as connection:
            cursor = await connection.execute(sql.GET, {"tenant": tenant.id, "path": path})
            row = await cursor.fetchone()
        if row is None:
            raise ArtifactNotFoundError(path)
        return Artifact(*row)

    async def paths_of_runs(
        self, tenant: Tenant, runs: Sequence[Placed], *, limit: int = 100
    ) -> dict[UUID, list[str]]:
        """The first `limit` files of each run, as paths below the run's own folder."""
        folders = {run_folder(run): run.run_id for run in runs if is_ours(run)}
        paths: dict[UUID, list[str]] = {run.run_id: [] for run in runs}
        if not folders:
            return paths
        async with self._database.read_pipeline(tenant) as connection:
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
        after = _start_of_page(folder, page_token) if page_token else f"{folder}/"
        async with self._database.read_pipeline(tenant) as connection:
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
        return entries, _PAGE_TOKENS.encode(_end_of_entry(entries[-1]))

    async def sizes(self, tenant: Tenant, folders: Sequence[str]) -> Sequence[int | None]:
        """The bytes below each folder; None for one with more files than are summed while a client
        waits (10,000 take 3 ms)."""
        async with self._database.read_pipeline(tenant) as connection:
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
            async with self._database.read_pipeline(tenant) as connection:
                cursor = await connection.execute(
                    sql.WALK,
                    {"tenant": tenant.id, "folder": folder, "after": after, "limit": CHUNK},
                )
                rows = await cursor.fetchall()
            for row in rows:
                yield Artifact(*row)
            if len(rows) < CHUNK:
                return
            after = rows[-1][0]


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


def _end_of_entry(entry: Entry) -> str:
    """A path that sorts behind the file, or behind all that the folder holds."""
    return entry.path + ("0" if entry.is_dir else "\x01")


def _start_of_page(folder: str, page_token: str) -> str:
    """The path behind which the page starts. Raises InvalidValueError for a token of another
    folder."""
    after = _PAGE_TOKENS.decode(page_token)
    if not after.startswith(f"{folder}/") or "\x00" in after:
        raise _PAGE_TOKENS.refusal()
    return after
