"""The files of a run: upload, list, download, delete. Paths are relative to the run's folder."""

import mimetypes
import posixpath
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Query, Request, Response, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import ConfigDict, Field

from app.api.downloads import (
    ReaderResponse,
    attachment,
    byte_range,
    file_headers,
    is_current,
    media_type,
    range_applies,
    validators,
)
from app.api.workbench.archive import zipped
from app.api.workbench.dependencies import RUN_EXAMPLE, RunId, ServicesDep, TenantDep
from app.api.workbench.fields import Body, Limit, Shown, Time, shown_time
from app.api.workbench.openapi import answers
from app.api.workbench.schemas import example
from app.artifacts.paths import artifact_path
from app.artifacts.service import Artifact, Entry, run_folder
from app.errors import InvalidValueError, NotFoundError, TrackingError
from app.runs.entities import Run
from app.runs.errors import run_not_active
from app.services import Services
from app.tenancy.tenant import Tenant

router = APIRouter(prefix="/experiments/runs/{run_id}", tags=["artifacts"])

_UPLOAD_CHUNK = 1 << 20
_FILE = {
    "path": "model/model.json",
    "is_dir": False,
    "size": 48213,
    "content_type": "application/json",
    "updated_at": "2025-11-23T09:42:00.000Z",
}
_FOLDER = {
    "path": "model",
    "is_dir": True,
    "size": None,
    "content_type": None,
    "updated_at": None,
}

FilePath = Annotated[
    str,
    Path(description="Relative to the run's folder.", examples=["model/model.json"]),
]


class ArtifactEntry(Shown):
    """A file or a folder; a folder has only its path."""

    model_config = ConfigDict(json_schema_extra=example(_FILE, _FOLDER))

    path: str = Field(description="Relative to the run's folder.")
    is_dir: bool
    size: int | None = Field(description="In bytes.")
    content_type: str | None
    updated_at: Time | None


class LogArtifact(Body):
    """A form with the file."""

    model_config = ConfigDict(json_schema_extra=example({"artifact_path": "model"}))

    file: UploadFile = Field(description="Stored under its own name.")
    artifact_path: str = Field(default="", description="The folder to put it in.")


class LoggedArtifact(Shown):
    """What was stored."""

    model_config = ConfigDict(
        json_schema_extra=example(
            {"message": "Logged model/model.json", "run_id": RUN_EXAMPLE, "artifact": _FILE}
        )
    )

    message: str
    run_id: str
    artifact: ArtifactEntry


@router.post("/log-artifact", summary="Log a file", responses=answers(404, 409))
async def log_artifact(
    run_id: RunId,
    form: Annotated[LogArtifact, Form(media_type="multipart/form-data")],
    services: ServicesDep,
    tenant: TenantDep,
) -> LoggedArtifact:
    """A file that is there already is replaced. A file of any size is taken; 409 where the path
    leads through a file, or is a folder."""
    folder = artifact_path(form.artifact_path, allow_root=True)
    path = posixpath.join(folder, _file_name(form.file))
    path = artifact_path(path)
    root = run_folder(await services.runs.get(tenant, run_id))
    with _relative_to(root):
        artifact = await services.artifacts.put(
            tenant,
            posixpath.join(root, path),
            _chunks(form.file),
            content_length=form.file.size,
            content_type=_content_type(form.file, path),
        )
    return LoggedArtifact(message=f"Logged {path}", run_id=run_id, artifact=_stored(artifact, root))


def _file_name(file: UploadFile) -> str:
    name = file.filename or ""
    if not name or "/" in name:
        raise InvalidValueError(
            "The file must have a name without a folder; artifact_path is the folder it goes to",
            field="file",
        )
    return name


def _content_type(file: UploadFile, path: str) -> str:
    """What the client says, unless it says no more than that there are bytes."""
    declared = media_type(file.content_type)
    if declared == media_type(None):
        return media_type(mimetypes.guess_type(path)[0])
    return declared


async def _chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(_UPLOAD_CHUNK):
        yield chunk


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
    tenant: TenantDep,
    path: Annotated[str, Query(description="A folder of the run.", examples=["model"])] = "",
    limit: Annotated[Limit, Query()] = 100,
    page_token: Annotated[str | None, Query(description="From the Link header.")] = None,
) -> list[ArtifactEntry]:
    """The files and folders that lie directly in a folder, in order."""
    relative = artifact_path(path, allow_root=True)
    root = run_folder(await services.runs.get(tenant, run_id))
    entries, token = await services.artifacts.list(
        tenant, posixpath.join(root, relative).rstrip("/"), limit=limit, page_token=page_token
    )
    if token:
        following = request.url.include_query_params(page_token=token)
        response.headers["Link"] = f'<{following}>; rel="next"'
    return [_listed(entry, root) for entry in entries]


_DOWNLOAD_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file, or the folder as a ZIP file.",
        "content": {
            "application/octet-stream": {
                "schema": {"type": "string", "format": "binary"},
                "example": "the bytes of the file",
            },
            "application/zip": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    206: {"description": "The part of the file that the Range header asks for."},
    304: {"description": "The client's copy, named by If-None-Match, is the same."},
}


async def download_artifact(
    run_id: RunId,
    path: FilePath,
    request: Request,
    services: ServicesDep,
    tenant: TenantDep,
    archive: Annotated[
        str | None,
        Query(pattern="^zip$", description="`zip`: the whole folder, in one file."),
    ] = None,
) -> Response:
    """One range of a file is honoured, and so are If-None-Match and If-Range. A folder is sent as a
    ZIP file, made on the way; the path of the run's whole folder is empty."""
    relative = artifact_path(path, allow_root=archive is not None)
    run = await services.runs.get(tenant, run_id)
    if archive is not None:
        return await _archive(services, tenant, run, relative)
    root = run_folder(run)
    with _relative_to(root):
        artifact = await _file(services, tenant, root, relative)
        return await _download(services, tenant, artifact, request)


router.add_api_route(
    "/artifacts/{path:path}",
    download_artifact,
    methods=["GET"],
    summary="Download a file or a folder",
    response_class=Response,
    responses=answers(404, 409, 416) | _DOWNLOAD_ANSWERS,
)
router.add_api_route(
    "/artifacts/{path:path}", download_artifact, methods=["HEAD"], include_in_schema=False
)


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


async def _download(
    services: Services, tenant: Tenant, artifact: Artifact, request: Request
) -> Response:
    if is_current(request.headers.get("if-none-match"), artifact.etag):
        return Response(status_code=304, headers=validators(artifact.etag))
    part = None
    # A HEAD ignores the Range header (RFC 9110, 14.2).
    if request.method == "GET" and range_applies(request.headers.get("if-range"), artifact.etag):
        part = byte_range(request.headers.get("range"), artifact.size)
    headers = file_headers(artifact)
    if request.method == "HEAD":
        return Response(headers=headers | {"Content-Length": str(artifact.size)})
    reader = await services.artifacts.open(
        tenant, artifact, start=part.start if part else 0, end=part.end if part else None
    )
    # An overwrite may have come between the row and the bytes; what is sent is what counts.
    headers["ETag"] = f'"{reader.stored.etag}"'
    headers["Content-Length"] = str(reader.end - reader.start)
    if part:
        headers["Content-Range"] = f"bytes {reader.start}-{reader.end - 1}/{reader.stored.size}"
    return ReaderResponse(reader, 206 if part else 200, headers)


async def _archive(services: Services, tenant: Tenant, run: Run, path: str) -> Response:
    root = run_folder(run)
    folder = posixpath.join(root, path).rstrip("/")
    files = services.artifacts.walk(tenant, folder)
    first = await anext(files, None)
    if first is None:
        raise NotFoundError(f"There are no files in the folder '{path}'", field="path")
    name = posixpath.basename(path) or run.run_id.hex
    return StreamingResponse(
        zipped(services.artifacts, tenant, folder, _with_first(first, files)),
        media_type="application/zip",
        headers={
            "Content-Disposition": attachment(f"{name}.zip"),
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "private, no-cache",
        },
    )


async def _with_first(first: Artifact, rest: AsyncIterator[Artifact]) -> AsyncIterator[Artifact]:
    yield first
    async for artifact in rest:
        yield artifact


@router.delete(
    "/artifacts/{path:path}",
    status_code=204,
    summary="Delete a file or a folder",
    responses=answers(404, 409),
)
async def delete_artifact(
    run_id: RunId, path: FilePath, services: ServicesDep, tenant: TenantDep
) -> None:
    """A folder goes with all that lies in it. 409 where the run is deleted."""
    relative = artifact_path(path)
    run = await services.runs.get(tenant, run_id)
    if run.deleted_time is not None:
        raise run_not_active(run_id, run.deleted_time)
    root = run_folder(run)
    with _relative_to(root):
        await services.artifacts.delete(tenant, posixpath.join(root, relative))


@contextmanager
def _relative_to(root: str) -> Iterator[None]:
    """Errors name a path as the caller did, without the folder of the run."""
    try:
        yield
    except TrackingError as error:
        error.message = error.message.replace(f"{root}/", "")
        raise


def _stored(artifact: Artifact, root: str) -> ArtifactEntry:
    return ArtifactEntry(
        path=artifact.path.removeprefix(f"{root}/"),
        is_dir=False,
        size=artifact.size,
        content_type=artifact.content_type,
        updated_at=shown_time(artifact.updated_time),
    )


def _listed(entry: Entry, root: str) -> ArtifactEntry:
    return ArtifactEntry(
        path=entry.path.removeprefix(f"{root}/"),
        is_dir=entry.is_dir,
        size=entry.size,
        content_type=entry.content_type,
        updated_at=None if entry.updated_time is None else shown_time(entry.updated_time),
    )
