"""MLflow's artifacts: the listing of a run's, and the proxied upload, download, list and delete."""

import mimetypes
import posixpath
from contextlib import suppress
from urllib.parse import unquote_to_bytes

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from app import validation
from app.api.downloads import media_type
from app.api.file_answers import file_answer
from app.api.headers import content_length, declared_digests
from app.api.mlflow.router import Call, Routes
from app.artifacts.entities import Entry
from app.artifacts.owners import check_owned
from app.artifacts.paths import artifact_path
from app.artifacts.service import run_folder
from app.errors import InvalidValueError, NotFoundError
from app.tenancy.caller import Role

routes = Routes()


class FileInfo(msgspec.Struct, omit_defaults=True):
    path: str
    is_dir: bool
    file_size: int | None = None


class ListArtifacts(msgspec.Struct):
    run_id: str = ""
    run_uuid: str = ""
    path: str = ""
    page_token: str = ""


class ListArtifactsAnswer(msgspec.Struct, omit_defaults=True):
    root_uri: str
    files: list[FileInfo] = []
    next_page_token: str | None = None


@routes.add("GET", "artifacts/list", ListArtifacts, Role.READ)
async def list_of_run(call: Call, message: ListArtifacts) -> ListArtifactsAnswer:
    run_id = message.run_id or message.run_uuid
    if not run_id:
        raise validation.missing("run_id")
    path = artifact_path(message.path, allow_root=True)
    run = await call.services.runs.get_info(call.tenant, run_id)
    folder = run_folder(run)
    entries, token = await call.services.artifacts.list(
        call.tenant, posixpath.join(folder, path).rstrip("/"), page_token=message.page_token or None
    )
    files = [_file(entry, entry.path.removeprefix(f"{folder}/")) for entry in entries]
    return ListArtifactsAnswer(run.artifact_uri, files, token)


def _file(entry: Entry, path: str) -> FileInfo:
    return FileInfo(path, entry.is_dir, entry.size)


async def list_folder(call: Call, request: Request) -> Response:
    folder = artifact_path(request.query_params.get("path", ""), allow_root=True)
    entries = (await call.services.artifacts.list(call.tenant, folder))[0] if folder else []
    files = [_file(entry, posixpath.basename(entry.path)) for entry in entries]
    body = msgspec.json.encode({"files": files} if files else {})
    return Response(body, media_type="application/json")


async def upload(call: Call, request: Request) -> Response:
    path = path_of(request)
    await call.services.artifacts.put(
        call.tenant,
        path,
        request.stream(),
        content_length=content_length(request.headers),
        content_type=media_type(
            request.headers.get("content-type") or mimetypes.guess_type(path)[0]
        ),
        digests=declared_digests(request.headers),
    )
    return Response(b"{}", media_type="application/json")


async def download(call: Call, request: Request) -> Response:
    artifact = await call.services.artifacts.get(call.tenant, path_of(request))
    return await file_answer(call.services.artifacts, call.tenant, artifact, request)


async def delete(call: Call, request: Request) -> Response:
    path = path_of(request)
    check_owned(path)
    with suppress(NotFoundError):  # MLflow's deletions may be repeated
        await call.services.artifacts.delete(call.tenant, path)
    return Response(b"{}", media_type="application/json")


def path_of(request: Request) -> str:
    """The path as decoded once by the HTTP server, which replaces bytes that are not UTF-8."""
    try:
        unquote_to_bytes(request.scope.get("raw_path", b"")).decode()
    except UnicodeDecodeError as error:
        raise InvalidValueError("Invalid path: it is not UTF-8", field="path") from error
    path = artifact_path(request.path_params["path"])
    # `experiments/1/runs/…/artifacts/C:/x` is harmless, but to a client it is the run's `C:/x`.
    artifact_path("/".join(path.split("/")[5:]), allow_root=True)
    return path
