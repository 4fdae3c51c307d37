"""Copies whole folders, several files at a time."""

import asyncio
from collections.abc import Sequence

from app.artifacts.entities import Artifact
from app.artifacts.service import Artifacts
from app.kernel.errors import ArtifactNotFoundError, InvalidValueError, NotFoundError
from app.kernel.tenant import Tenant

MAX_FILES = 10_000  # a client waits for the answer
_CONCURRENT_COPIES = 8


async def copy_all(
    artifacts: Artifacts, tenant: Tenant, source: str, target: str
) -> tuple[int, int]:
    """Copies a file, or all files below a folder; returns the number of files and their bytes.

    Raises what `Artifacts.copy` does, and files that were copied until then stay; NotFoundError
    where there is neither a file nor a folder at the source; InvalidValueError where the folder has
    more than MAX_FILES files, or the target is inside it.
    """
    files = await _source_files(artifacts, tenant, source)
    if files[0].path != source and f"{target}/".startswith(f"{source}/"):
        raise InvalidValueError("A folder cannot be copied into itself", field="path")
    remaining = iter(files)

    async def work() -> int:
        size = 0
        for file in remaining:
            copied = await artifacts.copy(tenant, file, target + file.path.removeprefix(source))
            size += copied.size
        return size

    workers = [asyncio.ensure_future(work()) for _ in range(min(_CONCURRENT_COPIES, len(files)))]
    try:
        return len(files), sum(await asyncio.gather(*workers))
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _source_files(artifacts: Artifacts, tenant: Tenant, source: str) -> Sequence[Artifact]:
    """The file at the path, or the files below the folder."""
    try:
        return [await artifacts.get(tenant, source)]
    except NotFoundError:
        files: list[Artifact] = []
    async for file in artifacts.walk(tenant, source):
        if len(files) == MAX_FILES:
            raise InvalidValueError(
                f"A folder of more than {MAX_FILES} files can't be copied by one request",
                field="source_path",
            )
        files.append(file)
    if not files:
        raise ArtifactNotFoundError(source)
    return files
