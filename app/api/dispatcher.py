"""The dispatcher: what every request passes, and which part of the server then answers it."""

from collections.abc import Awaitable, Mapping
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import doubled_slashes, mlflow
from app.api.guard import Guard
from app.api.mlflow_page import CALLED_PATHS, PAGE, PAGE_PATHS
from app.api.tenant_path import TenantPathMiddleware, route_path
from app.api.workbench import problem_details
from app.config import Settings
from app.http import head
from app.kernel.errors import TrackingError
from app.observability.monitor import Monitor
from app.observability.request_middleware import RequestMiddleware


class Dispatcher:
    """An HTTP request passes, from the first to the last:

    0. `__call__`, after which a HEAD is a GET, and the prefix of the path has single slashes;
    1. `TenantPathMiddleware`, which takes `/t/{tenant}` out of the path;
    2. `RequestMiddleware`, which gives the request its id, answers with the security headers,
       counts and logs. It sees every answer, also those to errors that nothing handled;
    3. `Guard`, which refuses malformed tenants, foreign hosts, and changes by foreign pages;
    4. `CORSMiddleware`, where the settings allow the pages of other origins;
    5. `_dispatch`, which picks the part of the server by the path:

       /api/2.0/mlflow/…              MlflowApi, also under MLflow's other prefixes
       /api/2.0/mlflow-artifacts/…    ArtifactRoutes, likewise
       /graphql                       MlflowApi with GraphQL alone
       /get-artifact                  PageFiles, also /model-versions/get-artifact
       other paths of MLflow's        mlflow.not_served
       /mlflow/                       MLflow's web page, where it is served, and its calls
       /api/v1/…                      FastAPI: the workbench API
       /docs, /openapi.json           FastAPI: the workbench API's documentation
       /health, /ready, /version, /metrics, /api/v1/version   FastAPI: probes

    MLflow's calls do not pass FastAPI, since its middlewares and its search for a route take a
    fifth of the time of logging a metric. MLflow's applications answer their own errors.
    """

    def __init__(
        self,
        mlflow_apps: Mapping[str, ASGIApp],
        fastapi: ASGIApp,
        settings: Settings,
        monitor: Monitor,
        route_templates: Mapping[object, str],
        mlflow_page: ASGIApp | None,
    ) -> None:
        """`mlflow_apps` are MLflow's applications by the path that each is mounted at;
        `route_templates` are the paths of FastAPI's routes by their endpoints; `mlflow_page` is
        MLflow's web page, if it is served."""
        self.mlflow_apps = dict(mlflow_apps)
        if mlflow_page is not None:
            self.mlflow_apps |= dict.fromkeys(PAGE_PATHS, mlflow_page)
            self.mlflow_apps |= dict.fromkeys(CALLED_PATHS, self._called_by_page)
        self._fastapi = fastapi
        app: ASGIApp = self._dispatch
        if settings.origins:
            app = CORSMiddleware(app, **cors_options(settings.origins))
        app = Guard(app, settings.hosts, settings.origins, _refusal)
        app = RequestMiddleware(app, monitor.access, monitor.requests, route_templates)
        self._entry = TenantPathMiddleware(app)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["method"] == "HEAD":
            scope = head.as_get(scope)
        if "//" in scope["path"]:
            scope = doubled_slashes.merged(scope)
        return self._entry(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = route_path(scope)
        # A mount path has three segments ("/api/2.0/mlflow"), or two where MLflow's clients leave
        # out a slash ("/api/2.0mlflow").
        segments = path.split("/", 4)
        for count in (4, 3):
            mount = "/".join(segments[:count])
            app = self.mlflow_apps.get(mount)
            if app is not None:
                root = scope.get("root_path", "")
                scope["app_root_path"] = root  # what `HTTPConnection.base_url` ends with
                scope["root_path"] = root + mount
                await app(scope, receive, send)
                return
        if mlflow.is_mlflow_path(path):
            await mlflow.not_served(scope, receive, send)
        else:
            await self._fastapi(scope, receive, send)

    async def _called_by_page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A call of MLflow's page, whose URLs are relative: `/mlflow/graphql` is `/graphql`."""
        root: str = scope["app_root_path"]
        scope["path"] = root + scope["path"].removeprefix(root + PAGE)
        scope["root_path"] = root
        scope["mlflow_page"] = True
        await self._dispatch(scope, receive, send)


def _refusal(scope: Scope, error: TrackingError) -> Response:
    """The guard's answer, in the shape of the API that was called."""
    if mlflow.is_mlflow_path(route_path(scope)):
        return mlflow.error_response(error)
    return problem_details.error_response(Request(scope), error)


def cors_options(origins: list[str]) -> dict[str, Any]:
    """What pages of these origins may send and read from their visitors' browsers.

    Without credentials: a browser would add them by itself, whichever page asks. A page sends the
    key of its user in a header.
    """
    return {
        "allow_origins": origins,
        "allow_methods": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
        "allow_headers": [
            "Authorization",
            "If-None-Match",
            "If-Range",
            "Range",
            "X-MLFLOW-WORKSPACE",
            "X-Request-ID",
            "X-Tenant-ID",
        ],
        "expose_headers": [
            "Accept-Ranges",
            "Content-Disposition",
            "Content-Range",
            "ETag",
            "Link",
            "Retry-After",
            "X-Request-ID",
        ],
    }
