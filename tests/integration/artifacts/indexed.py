"""Helpers of the tests of artifacts and their index."""

from collections.abc import AsyncIterator
from uuid import UUID

from app.artifacts.entities import Artifact
from app.artifacts.service import Artifacts
from app.artifacts.stores.contract import ArtifactStore
from app.db.database import Database
from app.kernel.artifact_uris import served_folder
from app.kernel.tenant import Tenant
from app.runs.entities import Run
from app.services import Services
from app.tenants.sql import USED_BYTES


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def put(artifacts: Artifacts, tenant: Tenant, path: str, content: bytes = b"x") -> Artifact:
    return await artifacts.put(
        tenant, path, chunks(content), content_length=len(content), content_type="text/plain"
    )


async def read(artifacts: Artifacts, tenant: Tenant, path: str) -> bytes:
    artifact = await artifacts.get(tenant, path)
    async with await artifacts.open(tenant, artifact) as reader:
        return b"".join([chunk async for chunk in reader])


async def new_run(services: Services, tenant: Tenant, experiment_id: str = "0") -> Run:
    return await services.runs.create(tenant, experiment_id)


def run_folder(run: Run) -> str:
    """The folder of a run's artifacts, relative to the tenant's root."""
    folder = served_folder(run.artifact_uri)
    assert folder is not None
    return folder


async def folder_of(services: Services, tenant: Tenant) -> str:
    """The folder of a new run."""
    return run_folder(await new_run(services, tenant))


async def listed(artifacts: Artifacts, tenant: Tenant, folder: str, page: int = 3) -> list[str]:
    """The names in a folder, page by page; those of folders end in a slash."""
    names, token = [], None
    while True:
        entries, token = await artifacts.list(tenant, folder, limit=page, page_token=token)
        names += [entry.path.removeprefix(f"{folder}/") + "/" * entry.is_dir for entry in entries]
        if token is None:
            return names


async def objects(store: ArtifactStore, tenant: Tenant) -> list[str]:
    return [found.key async for found in store.keys(tenant.slug)]


async def used_bytes(database: Database, tenant: Tenant) -> int:
    """The bytes of all artifacts of the tenant."""
    async with database.write_pipeline(tenant) as connection:
        cursor = await connection.execute(USED_BYTES, {"tenant": tenant.id})
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def rows(database: Database, tenant: Tenant, table: str) -> int:
    """How many rows the tenant has in a table."""
    async with database.write_pipeline(tenant) as connection:
        cursor = await connection.execute_numbered(
            f"SELECT count(*) FROM {table} WHERE tenant_id = $1", [tenant.id]
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


def run_path(run: Run, path: str) -> str:
    return f"{run_folder(run)}/{path}"


NO_OBJECT = UUID(int=0)
