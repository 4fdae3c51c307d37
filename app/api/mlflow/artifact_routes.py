"""`/mlflow-artifacts/…`: a small router of its own beside the table of messages, since its paths
hold artifacts' paths and its bodies are streamed.
"""

from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

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

Handler = Callable[[Services, Request], Awaitable[Response]]

# Paths that are served, for some methods.
SERVED = ("artifacts", "mpu/create", "mpu/complete", "mpu/abort", "presigned", "signed")


class ArtifactRoutes:
    """Everything but `signed` is for the tenant that the request names."""

    def __init__(self, services: Callable[[], Services]) -> None:
        self._services = services
        files = "/artifacts/{path:path}"
        self._router = Router(
            [
                self._route("/artifacts", "GET", _tenants(artifacts.list_folder)),
                self._route(files, "GET", _tenants(artifacts.download)),
                self._route(files, "PUT", _tenants(artifacts.upload, writes=True)),
                self._route(files, "DELETE", _tenants(artifacts.delete)),
                self._route("/mpu/create/{path:path}", "POST", _tenants(transfers.create_upload)),
                self._route(
                    "/mpu/complete/{path:path}", "POST", _tenants(transfers.complete_upload)
                ),
                self._route("/mpu/abort/{path:path}", "POST", _tenants(transfers.abort_upload)),
                self._route("/presigned/{path:path}", "GET", _tenants(transfers.download_url)),
                self._route("/signed/{path:path}", "GET", transfers.signed),
                self._route("/signed/{path:path}", "PUT", transfers.signed),
                Route("/{path:path}", _not_served, methods=[*METHODS, "HEAD", "OPTIONS"]),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._router(scope, receive, send)

    def _route(self, path: str, method: str, handler: Handler) -> Route:
        """The handler with every error in MLflow's shape. With GET comes HEAD."""

        async def endpoint(request: Request) -> Response:
            headers = {}
            try:
                return await handler(self._services(), request)
            except TrackingError as error:
                status, body = error_answer(error)
            except HTTPException as error:
                status, body = error.status_code, encode_error("BAD_REQUEST", error.detail)
                headers = dict(error.headers or {})
            except ClientDisconnect:
                status, body = 499, b""
            except Exception:
                status, body = log_unexpected(request.method, request.url.path)
            if status == 503:
                headers["Retry-After"] = "1"
            if status == 408:  # what is left of the body would be taken for the next request
                headers["Connection"] = "close"
            return Response(body, status, headers, media_type="application/json")

        return Route(path, endpoint, methods=[method])


def _tenants(
    handler: Callable[[Call, Request], Awaitable[Response]], *, writes: bool = False
) -> Handler:
    async def with_tenant(services: Services, request: Request) -> Response:
        tenant = await services.tenants.resolve(
            request.scope.get("tenant_in_path"), request.headers, write=writes
        )
        return await handler(Call(services, tenant, request.scope), request)

    return with_tenant


async def _not_served(request: Request) -> Response:
    path: str = request.path_params["path"]
    served = any(path == one or path.startswith(f"{one}/") for one in SERVED)
    return Response(
        unknown_route(request.method, path),
        405 if served else 404,
        media_type="application/json",
    )
