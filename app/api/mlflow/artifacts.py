"""MLflow's artifacts: the listing of a run's, and the proxy through which clients reach them all.

The proxy's paths hold the artifact's path, and its bodies are streamed, so it has its own small
router beside the table of messages.
"""

import mimetypes
import posixpath
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import unquote_to_bytes

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from app import validation
from app.api.downloads import ReaderResponse, file_headers, media_type
from app.api.headers import content_length
from app.api.mlflow.router import (
    METHODS,
    Call,
    Routes,
    error_answer,
    log_unexpected,
    unknown_route,
)
from app.artifacts.paths import artifact_path
from app.artifacts.service import Entry, check_owned, run_folder
from app.errors import InvalidValueError, NotFoundError, TrackingError
from app.services import Services

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


@routes.add("GET", "artifacts/list", ListArtifacts)
async def list_of_run(call: Call, message: ListArtifacts) -> ListArtifactsAnswer:
    run_id = message.run_id or message.run_uuid
    if not run_id:
        raise validation.missing("run_id")
    path = artifact_path(message.path, allow_root=True)
    run = await call.services.runs.get(call.tenant, run_id)
    folder = run_folder(run)
    entries, token = await call.services.artifacts.list(
        call.tenant, posixpath.join(folder, path).rstrip("/"), page_token=message.page_token or None
    )
    files = [_file(entry, entry.path.removeprefix(f"{folder}/")) for entry in entries]
    return ListArtifactsAnswer(run.artifact_uri, files, token)


def _file(entry: Entry, path: str) -> FileInfo:
    return FileInfo(path, entry.is_dir, entry.size)


class ArtifactProxy:
    """Serves `/mlflow-artifacts/artifacts/…`: upload, download, list and delete, streamed."""

    def __init__(self, services: Callable[[], Services]) -> None:
        self._services = services
        path = "/artifacts/{path:path}"
        self._router = Router(
            [
                Route("/artifacts", self._answered(_list_folder), methods=["GET"]),
                Route(path, self._answered(_download), methods=["GET", "HEAD"]),
                Route(path, self._answered(_upload, writes=True), methods=["PUT"]),
                Route(path, self._answered(_delete), methods=["DELETE"]),
                Route("/{path:path}", _not_served, methods=[*METHODS, "HEAD", "OPTIONS"]),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._router(scope, receive, send)

    def _answered(
        self, handler: Callable[[Call, Request], Awaitable[Response]], *, writes: bool = False
    ) -> Callable[[Request], Awaitable[Response]]:
        """The handler with the tenant found and every error in MLflow's shape."""

        async def endpoint(request: Request) -> Response:
            try:
                services = self._services()
                tenant = await services.tenants.resolve(
                    request.scope.get("tenant_in_path"), request.headers, write=writes
                )
                return await handler(Call(services, tenant), request)
            except TrackingError as error:
                status, body = error_answer(error)
            except ClientDisconnect:
                status, body = 499, b""
            except Exception:
                status, body = log_unexpected(request.method, request.url.path)
            return Response(body, status, media_type="application/json")

        return endpoint


async def _not_served(request: Request) -> Response:
    path: str = request.path_params["path"]
    status = 405 if path.partition("/")[0] == "artifacts" else 404
    return Response(unknown_route(request.method, path), status, media_type="application/json")


async def _list_folder(call: Call, request: Request) -> Response:
    folder = artifact_path(request.query_params.get("path", ""), allow_root=True)
    entries = (await call.services.artifacts.list(call.tenant, folder))[0] if folder else []
    files = [_file(entry, posixpath.basename(entry.path)) for entry in entries]
    body = msgspec.json.encode({"files": files} if files else {})
    return Response(body, media_type="application/json")


async def _upload(call: Call, request: Request) -> Response:
    path = _path(request)
    await call.services.artifacts.put(
        call.tenant,
        path,
        request.stream(),
        content_length=content_length(request.headers),
        content_type=media_type(
            request.headers.get("content-type") or mimetypes.guess_type(path)[0]
        ),
    )
    return Response(b"{}", media_type="application/json")


async def _download(call: Call, request: Request) -> Response:
    path = _path(request)
    artifact = await call.services.artifacts.get(call.tenant, path)
    headers = file_headers(artifact) | {"Accept-Ranges": "none"}
    if request.method == "HEAD":
        return Response(headers=headers | {"Content-Length": str(artifact.size)})
    reader = await call.services.artifacts.open(call.tenant, artifact)
    # An overwrite may have come between the row and the bytes; the bytes are what is sent.
    headers["ETag"] = f'"{reader.stored.etag}"'
    headers["Content-Length"] = str(reader.stored.size)
    return ReaderResponse(reader, 200, headers)


async def _delete(call: Call, request: Request) -> Response:
    path = _path(request)
    check_owned(path)
    with suppress(NotFoundError):  # MLflow's deletions may be repeated
        await call.services.artifacts.delete(call.tenant, path)
    return Response(b"{}", media_type="application/json")


def _path(request: Request) -> str:
    """The path as decoded once by the HTTP server, which replaces bytes that are not UTF-8."""
    try:
        unquote_to_bytes(request.scope.get("raw_path", b"")).decode()
    except UnicodeDecodeError as error:
        raise InvalidValueError("Invalid path: it is not UTF-8", field="path") from error
    path = artifact_path(request.path_params["path"])
    # `experiments/1/runs/…/artifacts/C:/x` is harmless, but to a client it is the run's `C:/x`.
    artifact_path("/".join(path.split("/")[5:]), allow_root=True)
    return path
