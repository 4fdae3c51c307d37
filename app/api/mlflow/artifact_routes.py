"""`/mlflow-artifacts/…`: a small router of its own beside the table of messages, since its paths
hold artifacts' paths and its bodies are streamed.
"""

from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from app.api.headers import error_headers
from app.api.mlflow import artifacts, transfers
from app.api.mlflow.router import (
    METHODS,
    Call,
    encode_error,
    error_answer,
    log_unexpected,
    unknown_route,
)
from app.errors import TrackingError
from app.services import Services
from app.tenancy.caller import Role

Handler = Callable[[Call, Request], Awaitable[Response]]

# Paths that are served, for some methods.
SERVED = ("artifacts", "mpu/create", "mpu/complete", "mpu/abort", "presigned", "signed")


class ArtifactRoutes:
    """Everything but `signed` is for the tenant that the request names, and needs a role there."""

    def __init__(self, services: Callable[[], Services]) -> None:
        self._services = services
        files = "/artifacts/{path:path}"
        read, write = Role.READ, Role.WRITE
        self._router = Router(
            [
                self._route("/artifacts", "GET", artifacts.list_folder, read),
                self._route(files, "GET", artifacts.download, read),
                self._route(files, "PUT", artifacts.upload, write),
                self._route(files, "DELETE", artifacts.delete, write),
                self._route("/mpu/create/{path:path}", "POST", transfers.create_upload, write),
                self._route("/mpu/complete/{path:path}", "POST", transfers.complete_upload, write),
                self._route("/mpu/abort/{path:path}", "POST", transfers.abort_upload, write),
                self._route("/presigned/{path:path}", "GET", transfers.download_url, read),
                self._route("/signed/{path:path}", "GET", transfers.signed, None),
                self._route("/signed/{path:path}", "PUT", transfers.signed, None),
                Route("/{path:path}", _not_served, methods=[*METHODS, "HEAD", "OPTIONS"]),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._router(scope, receive, send)

    def _route(self, path: str, method: str, handler: Handler, role: Role | None) -> Route:
        """The handler with every error in MLflow's shape. With GET comes HEAD.

        Without a role the URL itself carries the permission, which the handler looks at.
        """

        async def endpoint(request: Request) -> Response:
            headers = {}
            try:
                services = self._services()
                if role is None:
                    caller = await transfers.holder(services, request)
                else:
                    caller = await services.access.admit(request.scope, role)
                return await handler(Call(services, caller.tenant, caller, request.scope), request)
            except TrackingError as error:
                status, body = error_answer(error)
                headers = error_headers(error)
            except HTTPException as error:
                status, body = error.status_code, encode_error("BAD_REQUEST", error.detail)
                headers = dict(error.headers or {})
            except ClientDisconnect:
                status, body = 499, b""
            except Exception:
                status, body = log_unexpected(request.method, request.url.path)
            if status == 408:  # what is left of the body would be taken for the next request
                headers["Connection"] = "close"
            return Response(body, status, headers, media_type="application/json")

        return Route(path, endpoint, methods=[method])


async def _not_served(request: Request) -> Response:
    path: str = request.path_params["path"]
    served = any(path == one or path.startswith(f"{one}/") for one in SERVED)
    return Response(
        unknown_route(request.method, path),
        405 if served else 404,
        media_type="application/json",
    )
