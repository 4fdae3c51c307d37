"""Uploads and copies into a run: a single file by form, many files by form, copies of files."""

import mimetypes
import posixpath
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from app.api.file_response import media_type
from app.api.workbench.artifact_schemas import (
    ArtifactEntry,
    CopiedArtifacts,
    CopyArtifacts,
    LoggedArtifact,
    LoggedArtifacts,
    relative_to,
    stored,
)
from app.api.workbench.dependencies import AuthorizedRoute, RunId, ServicesDep, WriteTenant
from app.api.workbench.json_body import JsonRoute
from app.api.workbench.multipart_form import FormPart, form_parts
from app.api.workbench.openapi import answers
from app.artifacts.folder_copy import copy_all
from app.artifacts.paths import MAX_PATH_BYTES, artifact_path, path_to_read
from app.artifacts.unpublished_object import UnpublishedObject
from app.kernel.errors import InvalidValueError
from app.kernel.tenant import Tenant
from app.services import Services

router = APIRouter(
    prefix="/experiments/runs/{run_id}", tags=["artifacts"], route_class=AuthorizedRoute
)
_json = APIRouter(route_class=JsonRoute)

MAX_FILES = 1000  # in a form


def _form(properties: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI description of a form with a file, which FastAPI does not parse."""
    schema = {"type": "object", "required": ["file"], "properties": properties}
    content = {"multipart/form-data": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


_BYTES = {"type": "string", "format": "binary"}


@router.post(
    "/log-artifact",
    summary="Log a file",
    responses=answers(404, 409, 415, 507),
    openapi_extra=_form(
        {
            "artifact_path": {
                "type": "string",
                "default": "",
                "description": "The folder to put it in.",
            },
            "file": _BYTES | {"description": "Stored under its own name."},
        },
        {"artifact_path": "model", "file": "the bytes of the file"},
    ),
)
async def log_artifact(
    run_id: RunId, request: Request, services: ServicesDep, tenant: WriteTenant
) -> LoggedArtifact:
    """A file that is there already is replaced. Files of any size are accepted, and streamed to the
    store; `artifact_path` should come before the file. 409 where the path leads through a file, or
    is a folder."""
    root = (await services.runs.locate(tenant, run_id)).folder
    with relative_to(root):
        path, uploaded = await _upload(services, tenant, root, request)
        artifact = await services.artifacts.publish(tenant, uploaded, posixpath.join(root, path))
    return LoggedArtifact(message=f"Logged {path}", run_id=run_id, artifact=stored(artifact, root))


async def _upload(
    services: Services, tenant: Tenant, root: str, request: Request
) -> tuple[str, UnpublishedObject]:
    """Uploads the form's file; returns its path below `root`, and the object to publish.

    The object is moved later where `artifact_path` comes after the file.
    """
    folder: str | None = None
    uploaded: UnpublishedObject | None = None
    name = ""
    try:
        async for part in form_parts(request):
            if part.name == "artifact_path" and folder is None:
                folder = artifact_path(await part.text(MAX_PATH_BYTES), allow_root=True)
            elif part.name == "file" and uploaded is None:
                name = _file_name(part)
                path = artifact_path(posixpath.join(folder or "", name))
                uploaded = await services.artifacts.upload_unpublished(
                    tenant,
                    posixpath.join(root, path),
                    part.chunks,
                    content_length=None,
                    content_type=_content_type(part.content_type, path),
                    path_is_final=folder is not None,
                )
            else:
                raise InvalidValueError(
                    "The form has one file, 'file', and may have one 'artifact_path'",
                    field=part.name,
                )
        if uploaded is None:
            raise InvalidValueError("The form holds no file", field="file")
        return artifact_path(posixpath.join(folder or "", name)), uploaded
    except BaseException:
        if uploaded is not None:
            await services.artifacts.discard(tenant, uploaded)
        raise


def _file_name(part: FormPart) -> str:
    name = part.file_name or ""
    if not name or "/" in name:
        raise InvalidValueError(
            "The file must have a name without a folder; artifact_path is the folder it goes to",
            field="file",
        )
    return name


def _content_type(declared: str | None, path: str) -> str:
    """The declared content type; where that is missing or the general one, a guess by the file's
    name."""
    content_type = media_type(declared)
    if content_type == media_type(None):
        return media_type(mimetypes.guess_type(path)[0])
    return content_type


@router.post(
    "/artifacts",
    summary="Upload files",
    responses=answers(404, 409, 415, 507),
    openapi_extra=_form(
        {
            "file": {
                "type": "array",
                "items": _BYTES,
                "description": "Each is stored under its file name, which may hold folders.",
            }
        },
        {"file": ["the bytes of a file", "the bytes of another"]},
    ),
)
async def upload_artifacts(
    run_id: RunId,
    request: Request,
    services: ServicesDep,
    tenant: WriteTenant,
    path: Annotated[str, Query(description="The folder that they go to.", examples=["model"])] = "",
) -> LoggedArtifacts:
    """Up to 1,000 files of any size, streamed to the store. Each becomes visible once it is whole,
    and replaces a file that is there already. After an error the files before the faulty one are
    stored; the request may be repeated."""
    folder = artifact_path(path, allow_root=True)
    root = (await services.runs.locate(tenant, run_id)).folder
    logged: list[ArtifactEntry] = []
    with relative_to(root):
        async for part in form_parts(request):
            relative = artifact_path(posixpath.join(folder, _relative_path(part)))
            if len(logged) == MAX_FILES:
                raise InvalidValueError(
                    f"A form may have at most {MAX_FILES} files", field=part.name
                )
            artifact = await services.artifacts.put(
                tenant,
                posixpath.join(root, relative),
                part.chunks,
                content_length=None,
                content_type=_content_type(part.content_type, relative),
            )
            logged.append(stored(artifact, root))
    if not logged:
        raise InvalidValueError("The form holds no file", field="file")
    return LoggedArtifacts(run_id=run_id, artifacts=logged)


def _relative_path(part: FormPart) -> str:
    if part.name != "file":
        raise InvalidValueError(
            "The parts of the form are files, each with the name 'file'", field=part.name
        )
    if not part.file_name:
        raise InvalidValueError("The file must have a name", field="file")
    return part.file_name


@_json.post(
    "/artifacts/copy",
    summary="Copy files within or between runs",
    responses=answers(404, 409, 413, 415, 507),
)
async def copy_artifacts(
    run_id: RunId, copy: CopyArtifacts, services: ServicesDep, tenant: WriteTenant
) -> CopiedArtifacts:
    """Copies a file, or a folder of up to 10,000 files, of this run or another one. The store
    copies the bytes where it can, without sending them through this server. Files that are there
    already are replaced one by one. 409 where a path leads through a file, or is a folder."""
    source_path = path_to_read(copy.source_path)
    path = artifact_path(copy.path)
    root = (await services.runs.locate(tenant, run_id)).folder
    source_root = root
    if copy.source_run_id not in (None, run_id):
        source_root = (await services.runs.locate(tenant, copy.source_run_id)).folder
    with relative_to(root), relative_to(source_root):
        files, size = await copy_all(
            services.artifacts,
            tenant,
            posixpath.join(source_root, source_path),
            posixpath.join(root, path),
        )
    return CopiedArtifacts(run_id=run_id, path=path, files=files, bytes=size)


router.include_router(_json)
