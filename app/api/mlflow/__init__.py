"""The API that an unmodified MLflow 3 client speaks, one file per MLflow resource."""

from collections.abc import Callable

from starlette.types import ASGIApp

from app.api.mlflow import (
    artifacts,
    experiments,
    graphql_api,
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
from app.api.mlflow.error_responses import error_response
from app.api.mlflow.not_served import GRAPHQL, NOT_SERVED, PREFIXES, is_mlflow_path, not_served
from app.api.mlflow.router import MlflowApi
from app.services import Services

__all__ = [
    "GRAPHQL",
    "NOT_SERVED",
    "PREFIXES",
    "applications",
    "error_response",
    "is_mlflow_path",
    "not_served",
]


def applications(services: Callable[[], Services]) -> dict[str, ASGIApp]:
    """MLflow's messages, the proxy of artifacts, and GraphQL, by the paths they are mounted at."""
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
    graphql = MlflowApi(services, graphql_api.routes)
    # MLflow 3 asks for the datasets of experiments at a path that lacks a slash ("/api/3.0mlflow").
    return {GRAPHQL: graphql} | {
        f"{prefix}{name}": app
        for prefix in PREFIXES
        for name, app in (("/mlflow", api), ("mlflow", api), ("/mlflow-artifacts", proxy))
    }
