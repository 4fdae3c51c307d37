"""Lists, serves, previews and deletes a run's files. Paths are relative to the run's folder."""

import posixpath
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Scope

from app.api.file_download import file_answer
from app.api.file_response import attachment, is_current, validators
from app.api.workbench.artifact_schemas import ArtifactEntry, FilePath, Preview, listed, relative_to
from app.api.workbench.dependencies import (
    AuthorizedRoute,
    ReadTenant,
    RunId,
    ServicesDep,
    WriteTenant,
)
from app.api.workbench.fields import Limit
from app.api.workbench.openapi import answers
from app.api.workbench.zip_download import ArchiveResponse, zipped
from app.artifacts import previews
from app.artifacts.entities import Artifact
from app.artifacts.paths import artifact_path, path_to_read
from app.http.head import is_head, no_chunks
from app.kernel.artifact_uris import RunLocation
from app.kernel.errors import InvalidValueError, NotFoundError, RunNotActiveError
from app.kernel.tenant import Tenant
from app.services import Services

router = APIRouter(
    prefix="/experiments/runs/{run_id}", tags=["artifacts"], route_class=AuthorizedRoute
)


@router.get(
    "/artifacts",
    summary="List artifacts",
    responses=answers(404, 409)
    | {
        200: {
            "headers": {
                "Link": {
                    "description": 'The next page, where there is one: `<…>; rel="next"`.',
                    "schema": {"type": "string"},
                }
            }
        }
    },
)
async def list_artifacts(
    run_id: RunId,
    request: Request,
    response: Response,
    services: ServicesDep,
    tenant: ReadTenant,
    path: Annotated[str, Query(description="A folder of the run.", examples=["model"])] = "",
    limit: Annotated[Limit, Query()] = 100,
    page_token: Annotated[str | None, Query(description="From the Link header.")] = None,
    sizes: Annotated[bool, Query(description="Sum up the sizes of folders, too.")] = False,
) -> list[ArtifactEntry]:
    """The files and folders that lie directly in a folder, in order."""
    relative = path_to_read(path, allow_root=True)
    root = (await services.runs.locate(tenant, run_id)).folder
    entries, token = await services.artifacts.list(
        tenant, posixpath.join(root, relative).rstrip("/"), limit=limit, page_token=page_token
    )
    if token:
        next_page = request.url.include_query_params(page_token=token)
        response.headers["Link"] = f'<{next_page}>; rel="next"'
    folders = [entry.path for entry in entries if entry.is_dir] if sizes else []
    known_sizes = dict(zip(folders, await services.artifacts.sizes(tenant, folders), strict=True))
    return [listed(entry, root, known_sizes.get(entry.path)) for entry in entries]


_DOWNLOAD_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file; or the folder as a ZIP file; or a preview of the file.",
        "model": Preview,
        "content": {
            # A file has the content type that it was stored with.
            "*/*": {
                "schema": {"type": "string", "format": "binary"},
                "example": "the bytes of the file",
            },
            "application/zip": {"schema": {"type": "string", "format": "binary"}},
            "image/png": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    206: {"description": "The part of the file that the Range header asks for."},
    304: {"description": "The client's copy, named by If-None-Match, is the same."},
}

PreviewKind = Literal["", "auto", "text", "json", "table", "image"]


@router.get(
    "/artifacts/{path:rest}",
    summary="Download or preview a file, or download a folder",
    response_class=Response,
    responses=answers(404, 409, 416) | _DOWNLOAD_ANSWERS,
)
async def download_artifact(
    run_id: RunId,
    path: FilePath,
    request: Request,
    services: ServicesDep,
    tenant: ReadTenant,
    archive: Annotated[
        str | None,
        Query(pattern="^zip$", description="`zip`: the whole folder, in one file."),
    ] = None,
    preview: Annotated[
        PreviewKind | None,
        Query(
            description="The beginning of a file, as JSON: its text (64 KiB), JSON document or"
            " table (100 rows); of an image, a PNG of at most 256 pixels a side. Without a value,"
            " the file's name and type decide. HTML and SVG are text."
        ),
    ] = None,
) -> Response:
    """The headers Range, with a single range, If-Range and If-None-Match are supported. A folder is
    sent as a ZIP file, made while it is sent; the path of the run's whole folder is empty."""
    if archive is not None and preview is not None:
        raise InvalidValueError("A ZIP file has no preview", field="preview")
    relative = path_to_read(path, allow_root=archive is not None)
    run = await services.runs.locate(tenant, run_id)
    if archive is not None:
        return await _archive(services, tenant, run, relative, request.scope)
    root = run.folder
    with relative_to(root):
        artifact = await _file(services, tenant, root, relative)
        if preview is None:
            return await file_answer(services.artifacts, tenant, artifact, request)
        return await _preview(services, tenant, artifact, relative, preview, request)


async def _file(services: Services, tenant: Tenant, root: str, path: str) -> Artifact:
    full = posixpath.join(root, path)
    try:
        return await services.artifacts.get(tenant, full)
    except NotFoundError:
        below, _ = await services.artifacts.list(tenant, full, limit=1)
        if below:
            raise NotFoundError(
                f"'{path}' is a folder; with ?archive=zip it is sent as a ZIP file", field="path"
            ) from None
        raise


async def _preview(
    services: Services,
    tenant: Tenant,
    artifact: Artifact,
    path: str,
    requested: PreviewKind,
    request: Request,
) -> Response:
    kind = previews.kind_of(artifact) if requested in ("", "auto") else requested
    etag = f"{artifact.etag}-{kind}"
    headers = validators(etag) | {
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    if is_current(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    if kind == "image":
        png = await previews.thumbnail(services.artifacts, tenant, artifact)
        return Response(png, headers=headers, media_type="image/png")
    shown = Preview(path=path, kind="binary", size=artifact.size, truncated=artifact.size > 0)
    found: previews.Text | previews.Table | previews.Binary
    if kind == "table":
        found = await previews.first_rows(services.artifacts, tenant, artifact)
    elif kind == "json":
        found = await previews.first_json(services.artifacts, tenant, artifact)
    else:
        found = await previews.first_text(services.artifacts, tenant, artifact)
    match found:
        case previews.Table(columns, rows, truncated):
            shown.kind, shown.truncated = "table", truncated
            shown.columns, shown.rows = columns, rows
        case previews.Text(text, truncated):
            shown.kind, shown.truncated = ("json" if kind == "json" else "text"), truncated
            shown.text = text
    return Response(shown.model_dump_json(), headers=headers, media_type="application/json")


async def _archive(
    services: Services, tenant: Tenant, run: RunLocation, path: str, scope: Scope
) -> Response:
    folder = posixpath.join(run.folder, path).rstrip("/")
    files = services.artifacts.walk(tenant, folder)
    first = await anext(files, None)
    if first is None:
        raise NotFoundError(f"There are no files in the folder '{path}'", field="path")
    name = posixpath.basename(path) or run.run_id.hex
    headers = {
        "Content-Disposition": attachment(f"{name}.zip"),
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-cache",
    }
    if is_head(scope):
        return StreamingResponse(
            no_chunks(), headers=headers, media_type=ArchiveResponse.media_type
        )
    slot = await services.artifacts.take_slot(tenant)
    chunks = zipped(services.artifacts, tenant, slot, folder, _with_first(first, files))
    return ArchiveResponse(chunks, slot, headers)


async def _with_first(first: Artifact, rest: AsyncIterator[Artifact]) -> AsyncIterator[Artifact]:
    yield first
    async for artifact in rest:
        yield artifact


@router.delete(
    "/artifacts/{path:rest}",
    status_code=204,
    summary="Delete a file or a folder",
    responses=answers(404, 409),
)
async def delete_artifact(
    run_id: RunId, path: FilePath, services: ServicesDep, tenant: WriteTenant
) -> None:
    """A folder is deleted with all files below it. 409 where the run is deleted."""
    relative = artifact_path(path)
    run = await services.runs.locate(tenant, run_id)
    if run.deleted_time is not None:
        raise RunNotActiveError(run_id, run.deleted_time)
    root = run.folder
    with relative_to(root):
        await services.artifacts.delete(tenant, posixpath.join(root, relative))
