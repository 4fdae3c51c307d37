"""Every route of the application, read from its dispatcher and from FastAPI's router."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from fastapi.routing import iter_route_contexts
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from app.api.mlflow import GRAPHQL, NOT_SERVED
from app.api.mlflow.artifact_routes import ArtifactRoutes
from app.api.mlflow.page_files import PageFiles
from app.api.mlflow.router import METHODS, Endpoint, MlflowApi
from app.main import Application

MLFLOW = "/api/2.0/mlflow"
PROXY = "/api/2.0/mlflow-artifacts"

# A HEAD is handled as the GET of the same path. These make another answer to it, without the body.
HEADS = (
    f"{MLFLOW}/metrics/get-history",
    *(f"{PROXY}/{path}" for path in ("artifacts", "artifacts/{path}", "signed/{path}")),
    "/api/v1/experiments/runs/{run_id}/artifacts/{path}",
)


@dataclass(frozen=True)
class Served:
    """A route: its method, its path, and the message of one of MLflow's.

    MLflow's prefixes are the same application mounted again and again: one stands for all.
    """

    method: str
    path: str
    endpoint: Endpoint[Any] | None = None
    refuses: bool = False
    """Whether it answers only that there is no such route."""

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


def served(app: Application) -> dict[str, Served]:
    """Every route by its name, such as `GET /api/2.0/mlflow/runs/get`.

    Raises TypeError for a kind of route that is not known here, so that none is passed over.
    """
    routes = [
        *_of_mlflow(app.dispatcher.mlflow_apps[MLFLOW], f"{MLFLOW}/"),
        *_of_mlflow(app.dispatcher.mlflow_apps[GRAPHQL], GRAPHQL),
        *_of_proxy(app.dispatcher.mlflow_apps[PROXY]),
        *_of_pages(app.dispatcher.mlflow_apps["/get-artifact"]),
        *(Served(method, path, refuses=True) for method in METHODS for path in NOT_SERVED),
    ]
    for context in iter_route_contexts(app.routes):
        routes += _of_fastapi(context)
    routes += [
        replace(route, method="HEAD")
        for route in routes
        if route.method == "GET" and route.path in HEADS
    ]
    return {route.name: route for route in routes}


def mounted(app: Application) -> dict[str, list[tuple[str, int]]]:
    """The paths at which each of MLflow's applications is mounted, and its identity there; without
    GraphQL, which has one path."""
    found: dict[str, list[tuple[str, int]]] = {}
    for path, mlflow_app in app.dispatcher.mlflow_apps.items():
        if path != GRAPHQL:
            found.setdefault(type(mlflow_app).__name__, []).append((path, id(mlflow_app)))
    return found


def _of_fastapi(context: Any) -> Iterator[Served]:
    route = context.original_route
    if isinstance(route, Mount) and isinstance(route.app, StaticFiles):
        yield Served("GET", f"{route.path}/{{path}}")
    elif isinstance(route, Route):
        for method in sorted(route.methods or ()):
            yield Served(method, re.sub(r":\w+}", "}", context.path))
    else:
        raise TypeError(f"an unknown kind of route: {route!r}")


def _of_proxy(proxy: Any) -> Iterator[Served]:
    assert isinstance(proxy, ArtifactRoutes)
    for (method, _), endpoint in proxy.table.items():
        yield Served(method, PROXY + endpoint.path)


def _of_pages(pages: Any) -> Iterator[Served]:
    """They are below MLflow's prefixes, too."""
    assert isinstance(pages, PageFiles)
    for (method, _), endpoint in pages.table.items():
        yield Served(method, MLFLOW + endpoint.path)


def _of_mlflow(api: Any, mount: str) -> Iterator[Served]:
    assert isinstance(api, MlflowApi)
    for method, path, endpoint in api.endpoints():
        yield Served(method, mount + path, endpoint)
