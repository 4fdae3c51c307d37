"""Every route of the application, read off its router."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from app.api.mlflow.artifact_routes import ArtifactRoutes
from app.api.mlflow.router import Endpoint, MlflowApi, not_served

MLFLOW = "/api/2.0/mlflow"
PROXY = "/api/2.0/mlflow-artifacts"


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


def served(app: FastAPI) -> dict[str, Served]:
    """Every route by its name, such as `GET /api/2.0/mlflow/runs/get`.

    Raises TypeError for a kind of route that is not known here, so that none is passed over.
    """
    return {
        route.name: route
        for context in iter_route_contexts(app.routes)
        for route in _served(context)
    }


def mounted(app: FastAPI) -> dict[str, list[tuple[str, int]]]:
    """Under which paths each of MLflow's two applications is mounted, and its identity there."""
    found: dict[str, list[tuple[str, int]]] = {}
    for route in app.routes:
        if isinstance(route, Mount) and not isinstance(route.app, StaticFiles):
            found.setdefault(type(route.app).__name__, []).append((route.path, id(route.app)))
    return found


def _served(context: Any) -> Iterator[Served]:
    route = context.original_route
    if isinstance(route, Mount):
        match route.app:
            case MlflowApi():
                yield from _of_table(route.app)
            case ArtifactRoutes():
                for (method, _), artifacts in route.app.table.items():
                    yield Served(method, PROXY + artifacts.path)
            case StaticFiles():
                yield Served("GET", f"{route.path}/{{path}}")
            case _:
                raise TypeError(f"an unknown application is mounted at {route.path}")
    elif isinstance(route, Route):
        yield from _of_route(route, context.path)
    else:
        raise TypeError(f"an unknown kind of route: {route!r}")


def _of_route(route: Route, path: str) -> Iterator[Served]:
    refuses = route.endpoint is not_served
    for method in sorted(route.methods or ()):
        yield Served(method, re.sub(r":\w+}", "}", path), refuses=refuses)


def _of_table(api: MlflowApi) -> Iterator[Served]:
    for (method, path), endpoint in api._fixed.items():
        yield Served(method, f"{MLFLOW}/{path}", endpoint)
    for method, segments, endpoint in api._templates:
        yield Served(method, f"{MLFLOW}/{'/'.join(segments)}", endpoint)
