"""Reads of the artifact index: which files and folders a tenant has."""

from collections.abc import AsyncIterator, Mapping, Sequence
from urllib.parse import quote
from uuid import UUID

from app.artifacts import repository
from app.artifacts.entities import Artifact, ListingEntry
from app.artifacts.paths import is_shown_whole, path_as_listed
from app.db.database import Database
from app.kernel.artifact_uris import served_folder
from app.kernel.errors import ArtifactNotFoundError, InvalidValueError
from app.kernel.page_tokens import PageTokenCodec
from app.kernel.tenant import Tenant

# How many rows one statement reads or deletes.
CHUNK = 1000
_MAX_SUMMED_FILES = 10_000
# Files whose paths are decoded in search of the one that a client means: 1 ms for
# ordinary names, and 30 ms for the longest that are encoded as often as is looked at.
_MAX_DECODED = 100

# A token holds the path that sorts behind all of the page's last entry.
_PAGE_TOKENS: PageTokenCodec[str] = PageTokenCodec(
    str, "it must be the next_page_token of an earlier page of this folder"
)


class ArtifactIndex:
    """Reads of the index. Callers have validated paths by `app.artifacts.paths`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, tenant: Tenant, path: str) -> Artifact:
        """Raises NotFoundError where there is no file at the path."""
        artifact = await self._get(tenant, path)
        if artifact is None:
            raise ArtifactNotFoundError(path)
        return artifact

    async def _get(self, tenant: Tenant, path: str) -> Artifact | None:
        async with self._database.read_pipeline(tenant) as connection:
            return await repository.get(connection, tenant, path)

    async def get_as_listed(self, tenant: Tenant, path: str) -> Artifact:
        """The file at the path; where there is none, the one that `find_as_listed` finds. Raises
        NotFoundError, and InvalidValueError where the path is a folder."""
        artifact = await self._get(tenant, path)
        if artifact is None:
            stored = await self.find_as_listed(tenant, path)
            if stored is None:
                raise ArtifactNotFoundError(path)
            artifact = await self._get(tenant, stored)
        if artifact is None:
            raise InvalidValueError(
                f"Artifact path refers to a directory, not a file: '{path}'", field="path"
            )
        return artifact

    async def find_as_listed(self, tenant: Tenant, path: str) -> str | None:
        """The path of a file or a folder that MLflow's client shows as `path`.

        The client decodes the names that a server lists, and then asks for what it shows: for
        `a b.txt`, where there is `a%20b.txt`. None where nothing is found below a run or model.
        """
        segments = path.split("/")
        root, names = "/".join(segments[:5]), segments[5:]
        if not names or not is_shown_whole(path):
            return None
        shown = path_as_listed(path)
        async with self._database.read_pipeline(tenant) as connection:
            found = await repository.shown_at(
                connection,
                tenant,
                shown,
                names=[shown, f"{root}/{quote('/'.join(names))}"],
                start=len(root) + 1,
                limit=_MAX_DECODED,
            )
        for below in found:
            stored = "/".join(below.split("/")[: len(segments)])
            if path_as_listed(stored) == shown:
                return stored
        return None

    async def first_paths(
        self, tenant: Tenant, artifact_uris: Mapping[UUID, str], *, limit: int = 100
    ) -> dict[UUID, list[str]]:
        """The paths of the first `limit` files of each run, relative to the run's artifact folder.

        `artifact_uris` maps ids of runs to their artifact URIs. A run whose artifacts are at a
        location of the user's own has no paths.
        """
        paths: dict[UUID, list[str]] = {run_id: [] for run_id in artifact_uris}
        folders = {
            folder: run_id
            for run_id, uri in artifact_uris.items()
            if (folder := served_folder(uri)) is not None
        }
        if not folders:
            return paths
        async with self._database.read_pipeline(tenant) as connection:
            files = await repository.first_files(connection, tenant, list(folders), limit=limit)
        for folder, path in files:
            paths[folders[folder]].append(path[len(folder) + 1 :])
        return paths

    async def list(
        self,
        tenant: Tenant,
        folder: str,
        *,
        limit: int | None = None,
        page_token: str | None = None,
    ) -> tuple[list[ListingEntry], str | None]:
        """A page of the files and folders directly in a folder, in order, and the token of the next
        page; the token is None on the last page.

        The cost depends on the size of the page, not on what the folder holds.
        """
        after = _start_of_page(folder, page_token) if page_token else f"{folder}/"
        async with self._database.read_pipeline(tenant) as connection:
            entries = await repository.list_folder(
                connection, tenant, folder, after=after, limit=None if limit is None else limit + 1
            )
        if limit is None or len(entries) <= limit:
            return entries, None
        del entries[limit:]
        return entries, _PAGE_TOKENS.encode(_end_of_entry(entries[-1]))

    async def sizes(self, tenant: Tenant, folders: Sequence[str]) -> Sequence[int | None]:
        """The bytes of all files below each folder; None for a folder of more than 10,000 files,
        which are too many to sum up while a client waits (10,000 take 3 ms)."""
        async with self._database.read_pipeline(tenant) as connection:
            sums = await repository.sum_sizes(
                connection, tenant, folders, max_files=_MAX_SUMMED_FILES
            )
        return [size if files <= _MAX_SUMMED_FILES else None for files, size in sums]

    async def walk(self, tenant: Tenant, folder: str) -> AsyncIterator[Artifact]:
        """Every file below a folder, in order. No connection is held between two pages."""
        after = f"{folder}/"
        while True:
            async with self._database.read_pipeline(tenant) as connection:
                files = await repository.files_below(
                    connection, tenant, folder, after=after, limit=CHUNK
                )
            for artifact in files:
                yield artifact
            if len(files) < CHUNK:
                return
            after = files[-1].path


def _end_of_entry(entry: ListingEntry) -> str:
    """The first path that sorts after the file, or after everything in the folder."""
    return entry.path + ("0" if entry.is_dir else "\x01")


def _start_of_page(folder: str, page_token: str) -> str:
    """The path at which the page starts. Raises InvalidValueError for a token of another folder."""
    after = _PAGE_TOKENS.decode(page_token)
    if not after.startswith(f"{folder}/") or "\x00" in after:
        raise _PAGE_TOKENS.refusal()
    return after
