"""Router of `/mlflow-artifacts/…`: its URLs hold artifact paths, and its bodies are streamed."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.headers import error_headers
from app.api.mlflow import artifacts, multipart_upload, presigned_urls
from app.api.mlflow.error_responses import (
    encode_error,
    internal_error,
    status_and_body,
    unknown_route_response,
)
from app.api.mlflow.router import Call
from app.kernel.errors import TrackingError
from app.kernel.principal import Role
from app.services import Services

Handler = Callable[[Call, Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`path` starts with a slash; metrics count requests under it. `role` is None where the URL
    itself carries the permission."""

    path: str
    handler: Handler
    role: Role | None


class ArtifactRoutes:
    """Routes by method and prefix. All but `/signed/` act in the tenant that the request names, and
    need a role in it."""

    def __init__(self, services: Callable[[], Services]) -> None:
        self._services = services
        read, write = Role.READ, Role.WRITE
        # Keys are the method and the part of the URL before the artifact's path.
        self.table: dict[tuple[str, str], Endpoint] = {}
        self._add("GET", "/artifacts", artifacts.list_folder, read)
        self._add("GET", "/artifacts/", artifacts.download, read)
        self._add("PUT", "/artifacts/", artifacts.upload, write)
        self._add("DELETE", "/artifacts/", artifacts.delete, write)
        self._add("POST", "/mpu/create/", multipart_upload.create_upload, write)
        self._add("POST", "/mpu/complete/", multipart_upload.complete_upload, write)
        self._add("POST", "/mpu/abort/", multipart_upload.abort_upload, write)
        self._add("GET", "/presigned/", presigned_urls.download_url, read)
        self._add("GET", "/signed/", presigned_urls.serve_signed_url, None)
        self._add("PUT", "/signed/", presigned_urls.serve_signed_url, None)

    def _add(self, method: str, prefix: str, handler: Handler, role: Role | None) -> None:
        path = f"{prefix}{{path}}" if prefix.endswith("/") else prefix
        self.table[method, prefix] = Endpoint(path, handler, role)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Not a route of Starlette's: its regular expressions drop a line break at the path's end.
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        prefix, rest = _split(path)
        endpoint = self.table.get((scope["method"], prefix))
        if endpoint is None:
            allowed = {method for method, other in self.table if other == prefix}
            answer = unknown_route_response(scope, allowed)
        else:
            scope["route"] = endpoint
            scope["path_params"] = {"path": rest}
            answer = await respond(self._services(), endpoint, Request(scope, receive, send))
        await answer(scope, receive, send)


async def respond(services: Services, endpoint: Endpoint, request: Request) -> Response:
    """The handler's response; errors become responses in MLflow's format."""
    headers = {}
    try:
        if endpoint.role is None:
            caller = await presigned_urls.authenticate_signed_url(services, request)
        else:
            caller = await services.authenticator.authorize(request.scope, endpoint.role)
        call = Call(services, caller.tenant, caller, request.scope)
        return await endpoint.handler(call, request)
    except TrackingError as error:
        status, body = status_and_body(error)
        headers = error_headers(error)
    except HTTPException as error:
        status, body = error.status_code, encode_error("BAD_REQUEST", error.detail)
        headers = dict(error.headers or {})
    except ClientDisconnect:
        status, body = 499, b""
    except Exception:
        status, body = internal_error(request.method, request.url.path)
    if status == 408:  # else the rest of the body would be parsed as the next request
        headers["Connection"] = "close"
    return Response(body, status, headers, media_type="application/json")


def _split(path: str) -> tuple[str, str]:
    """Splits a URL's path into the prefix, as in the table, and the artifact's path."""
    segments = 3 if path.startswith("/mpu/") else 2
    *before, rest = path.split("/", segments)
    if len(before) < segments:
        return path, ""
    return "/".join([*before, ""]), rest
