"""The routes by which MLflow's page reads and writes files: a query names the file, and its bytes
are the body."""

import mimetypes
import posixpath
from collections.abc import AsyncIterator, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.file_response import media_type
from app.api.headers import content_length, declared_digests
from app.api.mlflow.artifact_routes import Endpoint, Handler, respond
from app.api.mlflow.artifacts import file_at
from app.api.mlflow.error_responses import unknown_route_response
from app.api.mlflow.router import Call, match
from app.artifacts.paths import artifact_path, path_to_read
from app.kernel import validation
from app.kernel.errors import ConflictError, InvalidValueError
from app.kernel.principal import Role
from app.kernel.uri_schemes import scheme
from app.registry import source_uris
from app.services import Services

TOP_LEVEL = ("/get-artifact", "/model-versions/get-artifact")
"""The routes that MLflow's server has outside of its API, too."""

MAX_UPLOAD_BYTES = 10 << 20  # MLflow's


async def run_file(call: Call, request: Request) -> Response:
    query = request.query_params
    path = path_to_read(_required(request, "path"))
    run_id = query.get("run_id") or query.get("run_uuid")
    if not run_id:
        raise validation.missing("run_id")
    run = await call.services.runs.locate(call.tenant, run_id)
    return await file_at(call, request, posixpath.join(run.folder, path))


async def version_file(call: Call, request: Request) -> Response:
    path = path_to_read(_required(request, "path"))
    uri = await call.services.model_versions.download_uri(
        call.tenant, _required(request, "name"), _required(request, "version")
    )
    folder = await _folder(call, uri)
    return await file_at(call, request, path_to_read(posixpath.join(folder, path)))


async def _folder(call: Call, storage_location: str) -> str:
    """The folder of a model version's files. Raises ConflictError where they are at a location of
    the user's own."""
    names = source_uris.segments(storage_location)
    if scheme(storage_location) == "mlflow-artifacts":
        return "/".join(names)
    if scheme(storage_location) == "runs":
        run = await call.services.runs.locate(call.tenant, names[0])
        return posixpath.join(run.folder, *names[1:])
    raise ConflictError(
        f"The artifacts of this version lie at {storage_location}, which only clients with"
        " credentials of their own can reach",
        field="version",
    )


async def model_file(call: Call, request: Request) -> Response:
    path = request.query_params.get("artifact_file_path")
    if not path:  # in MLflow's words, with its error code
        raise HTTPException(400, 'Request must include the "artifact_file_path" query parameter.')
    path = path_to_read(path)
    model = await call.services.models.locate(call.tenant, request.path_params["model_id"])
    return await file_at(call, request, posixpath.join(model.folder, path))


async def upload(call: Call, request: Request) -> Response:
    """Stores a file of a run, in MLflow's limits and with its words."""
    for name in ("run_uuid", "path"):
        if not request.query_params.get(name):
            raise InvalidValueError(f"Request must specify {name}.", field=name)
    path = artifact_path(request.query_params["path"])
    size = content_length(request.headers)
    if size is not None and size > MAX_UPLOAD_BYTES:
        raise _too_large()
    run = await call.services.runs.locate(call.tenant, request.query_params["run_uuid"])
    await call.services.artifacts.put(
        call.tenant,
        posixpath.join(run.folder, path),
        _some_data(request.stream()),
        content_length=size,
        content_type=media_type(mimetypes.guess_type(path)[0]),
        digests=declared_digests(request.headers),
    )
    return Response(media_type="application/json")


async def _some_data(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The body. Raises InvalidValueError where it is empty or too large."""
    size = 0
    async for chunk in body:
        size += len(chunk)
        if size > MAX_UPLOAD_BYTES:
            raise _too_large()
        yield chunk
    if not size:
        raise InvalidValueError("Request must specify data.", field="body")


def _too_large() -> InvalidValueError:
    return InvalidValueError("Artifact size is too large. Max size is 10MB.", field="body")


def _required(request: Request, name: str) -> str:
    value = request.query_params.get(name)
    if not value:
        raise validation.missing(name)
    return value


class PageFiles:
    """The routes, by their paths below `/api/2.0/mlflow/`; by themselves, those of TOP_LEVEL."""

    def __init__(self, services: Callable[[], Services]) -> None:
        self._services = services
        self.table: dict[tuple[str, str], Endpoint] = {}
        self._add("GET", "get-artifact", run_file, Role.READ)
        self._add("GET", "model-versions/get-artifact", version_file, Role.READ)
        self._add("GET", "logged-models/{model_id}/artifacts/files", model_file, Role.READ)
        self._add("POST", "upload-artifact", upload, Role.WRITE)

    def _add(self, method: str, path: str, handler: Handler, role: Role) -> None:
        self.table[method, path] = Endpoint(f"/{path}", handler, role)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The whole path is the mount's.
        scope["root_path"] = scope["app_root_path"]
        await self.serve(
            scope["path"].removeprefix(scope["root_path"]).strip("/"), scope, receive, send
        )

    async def serve(self, path: str, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answers the request where `path` is one of the routes, and returns whether it is."""
        method = scope["method"]
        segments = path.split("/")
        allowed = set()
        for (its_method, template), endpoint in self.table.items():
            parameters = match(template.split("/"), segments)
            if parameters is None:
                continue
            allowed.add(its_method)
            if its_method == method:
                scope["route"] = endpoint
                scope["path_params"] = parameters
                request = Request(scope, receive, send)
                await (await respond(self._services(), endpoint, request))(scope, receive, send)
                return True
        if allowed:
            await unknown_route_response(scope, allowed)(scope, receive, send)
        return bool(allowed)
