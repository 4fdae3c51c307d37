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
    not_kept,
    presigned_urls,
    registered_models,
    runs,
    server_info,
    workspaces,
)
from app.api.mlflow.artifact_routes import ArtifactRoutes
from app.api.mlflow.error_responses import error_response
from app.api.mlflow.not_served import GRAPHQL, NOT_SERVED, PREFIXES, is_mlflow_path, not_served
from app.api.mlflow.page_files import TOP_LEVEL, PageFiles
from app.api.mlflow.router import MlflowApi
from app.api.mlflow.server_info import MLFLOW_VERSION
from app.services import Services

__all__ = [
    "GRAPHQL",
    "MLFLOW_VERSION",
    "NOT_SERVED",
    "PREFIXES",
    "applications",
    "error_response",
    "is_mlflow_path",
    "not_served",
]


def applications(services: Callable[[], Services]) -> dict[str, ASGIApp]:
    """MLflow's applications, the messages, the artifacts proxy, the files of its page and GraphQL,
    by their mount paths."""
    pages = PageFiles(services)
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
        not_kept.routes,
        files=pages.serve,
    )
    proxy = ArtifactRoutes(services)
    graphql: ASGIApp = MlflowApi(services, graphql_api.routes)
    # MLflow 3 asks for the datasets of experiments at a path that lacks a slash ("/api/3.0mlflow").
    below_version: dict[str, ASGIApp] = {
        f"{prefix}{name}": app
        for prefix in PREFIXES
        for name, app in (("/mlflow", api), ("mlflow", api), ("/mlflow-artifacts", proxy))
    }
    return below_version | dict.fromkeys(TOP_LEVEL, pages) | {GRAPHQL: graphql}
