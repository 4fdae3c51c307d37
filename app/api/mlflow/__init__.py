"""The API that an unmodified MLflow 3 client speaks, one file per MLflow resource."""

from collections.abc import Callable, Sequence

from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.mlflow import (
    artifacts,
    experiments,
    inputs,
    logged_models,
    metrics,
    model_versions,
    presigned_urls,
    registered_models,
    runs,
    server_info,
    workspaces,
)
from app.api.mlflow.artifact_routes import ArtifactRoutes
from app.api.mlflow.router import METHODS, MlflowApi, not_served
from app.services import Services

# MLflow's clients use 2.0 for most and 3.0 for what is newer, its pages use ajax-api.
PREFIXES = [f"/{kind}/{version}" for kind in ("api", "ajax-api") for version in ("2.0", "3.0")]

# What MLflow's server has beside the routes below. An answer in another shape than MLflow's would
# reach the client's user as an internal error.
NOT_SERVED = [
    *(f"{prefix}/{{rest:path}}" for prefix in PREFIXES),
    *("/v1/traces", "/graphql", "/gateway/{rest:path}"),
    *("/get-artifact", "/model-versions/get-artifact"),
]
_BELOW = tuple(path.partition("{")[0] for path in NOT_SERVED if "{" in path)
_EXACT = frozenset(path for path in NOT_SERVED if "{" not in path)


def speaks_at(path: str) -> bool:
    """Whether it is MLflow's clients that call the path, served or not."""
    return path.startswith(_BELOW) or path in _EXACT


def mounts(services: Callable[[], Services]) -> list[BaseRoute]:
    """Every route of MLflow's, under every prefix."""
    api = MlflowApi(
        services,
        experiments.routes,
        runs.routes,
        inputs.routes,
        metrics.routes,
        logged_models.routes,
        registered_models.routes,
        model_versions.routes,
        artifacts.routes,
        presigned_urls.routes,
        server_info.routes,
        workspaces.routes,
    )
    proxy = ArtifactRoutes(services)
    # MLflow 3 asks for the datasets of experiments at a path that lacks a slash.
    mounted: list[BaseRoute] = [
        Mount(f"{prefix}{name}", app)
        for prefix in PREFIXES
        for name, app in (("/mlflow", api), ("mlflow", api), ("/mlflow-artifacts", proxy))
    ]
    return mounted + [Route(path, not_served, methods=METHODS) for path in NOT_SERVED]


class Shortcut:
    """Leads requests for MLflow's API straight to it, past what FastAPI and Starlette put around
    every route: their middlewares and the search for a route took a fifth of the time of logging a
    metric. MLflow's routes answer their own errors, so that they need none of them.

    `app` is the whole application, and serves the rest. The shortcut changes no answer.
    """

    def __init__(self, app: ASGIApp, mounts: Sequence[BaseRoute]) -> None:
        self._app = app
        # "/api/2.0/mlflow" and its like: what comes before the third slash that follows.
        self._mounted = {
            mount.path: mount.app
            for mount in mounts
            if isinstance(mount, Mount) and isinstance(mount.app, MlflowApi | ArtifactRoutes)
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            root = scope.get("root_path", "")
            prefix = "/".join(scope["path"][len(root) :].split("/", 4)[:4])
            api = self._mounted.get(prefix)
            if api is not None:
                # As a Mount does: the URL that clients reach the application by ends before it.
                scope.setdefault("app_root_path", root)
                scope["root_path"] = root + prefix
                await api(scope, receive, send)
                return
        await self._app(scope, receive, send)
