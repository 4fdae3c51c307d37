"""Files into a run: one by form, as the contract has it, many by form, and copies of what is
there."""

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
from app.api.workbench.dependencies import GuardedRoute, RunId, ServicesDep, WriteTenant
from app.api.workbench.json_body import JsonRoute
from app.api.workbench.multipart_form import FormPart, form_parts
from app.api.workbench.openapi import answers
from app.artifacts.entities import Received
from app.artifacts.folder_copy import copy_all
from app.artifacts.index import run_folder
from app.artifacts.paths import MAX_PATH_BYTES, artifact_path
from app.kernel.errors import InvalidValueError
from app.kernel.tenant import Tenant
from app.services import Services

router = APIRouter(
    prefix="/experiments/runs/{run_id}", tags=["artifacts"], route_class=GuardedRoute
)
_json = APIRouter(route_class=JsonRoute)

MAX_FILES = 1000  # of a form


def _form(properties: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    """How OpenAPI tells of a form with a file that FastAPI does not read."""
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
    """A file that is there already is replaced. A file of any size is taken, and passed on to the
    store while it arrives, best with `artifact_path` before it; 409 where the path leads through a
    file, or is a folder."""
    root = run_folder(await services.runs.get_info(tenant, run_id))
    with relative_to(root):
        path, received = await _received(services, tenant, root, request)
        artifact = await services.artifacts.keep(tenant, received, posixpath.join(root, path))
    return LoggedArtifact(message=f"Logged {path}", run_id=run_id, artifact=stored(artifact, root))


async def _received(
    services: Services, tenant: Tenant, root: str, request: Request
) -> tuple[str, Received]:
    """The form's file, and the path below the root that it asks for."""
    folder: str | None = None
    received: Received | None = None
    name = ""
    try:
        async for part in form_parts(request):
            if part.name == "artifact_path" and folder is None:
                folder = artifact_path(await part.text(MAX_PATH_BYTES), allow_root=True)
            elif part.name == "file" and received is None:
                name = _file_name(part)
                path = artifact_path(posixpath.join(folder or "", name))
                received = await services.artifacts.receive(
                    tenant,
                    posixpath.join(root, path),
                    part.chunks,
                    content_length=None,
                    content_type=_content_type(part.content_type, path),
                    settled=folder is not None,
                )
            else:
                raise InvalidValueError(
                    "The form has one file, 'file', and may have one 'artifact_path'",
                    field=part.name,
                )
        if received is None:
            raise InvalidValueError("The form holds no file", field="file")
        return artifact_path(posixpath.join(folder or "", name)), received
    except BaseException:
        if received is not None:
            await services.artifacts.discard(tenant, received)
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
    """What the client says, unless it says no more than that there are bytes."""
    told = media_type(declared)
    if told == media_type(None):
        return media_type(mimetypes.guess_type(path)[0])
    return told


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
    """Up to 1,000 files of any size, passed on to the store while they arrive. Each can be seen
    when it is whole, and replaces one that is there already. After an error the files before the
    one at fault are there, and so the request may be sent again."""
    folder = artifact_path(path, allow_root=True)
    root = run_folder(await services.runs.get_info(tenant, run_id))
    logged: list[ArtifactEntry] = []
    with relative_to(root):
        async for part in form_parts(request):
            relative = artifact_path(posixpath.join(folder, _path(part)))
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


def _path(part: FormPart) -> str:
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
    """A file, or a folder with up to 10,000 files, of this run or another one. The bytes are copied
    by the store where it can, and not sent through this server. What is there already is replaced,
    file by file; 409 where a file and a folder would be in each other's place."""
    source_path = artifact_path(copy.source_path)
    path = artifact_path(copy.path)
    root = run_folder(await services.runs.get_info(tenant, run_id))
    source_root = root
    if copy.source_run_id not in (None, run_id):
        source_root = run_folder(await services.runs.get_info(tenant, copy.source_run_id))
    with relative_to(root), relative_to(source_root):
        files, size = await copy_all(
            services.artifacts,
            tenant,
            posixpath.join(source_root, source_path),
            posixpath.join(root, path),
        )
    return CopiedArtifacts(run_id=run_id, path=path, files=files, bytes=size)


router.include_router(_json)
