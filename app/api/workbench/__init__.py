"""The workbench API: REST routes over the services, with an OpenAPI document at /docs."""

from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute

from app.api.workbench import (
    admin_keys,
    admin_tenants,
    artifact_uploads,
    artifacts,
    audit,
    compare,
    experiments,
    metrics,
    run_logging,
    runs,
)
from app.api.workbench.dependencies import document_tenant_header
from app.api.workbench.openapi import DESCRIPTION, SERVERS, TAGS

__all__ = ["DESCRIPTION", "SERVERS", "TAGS", "router"]


def _operation_id(route: APIRoute) -> str:
    """The handler's name. Generated clients name their functions after it."""
    return route.name


router = APIRouter(
    prefix="/api/v1",
    dependencies=[Depends(document_tenant_header)],
    generate_unique_id_function=_operation_id,
)
# The order matters: `/experiments/runs` must not match `/experiments/{experiment_id}`, nor
# `/experiments/runs/compare` match `/experiments/runs/{run_id}`.
for part in (
    *(compare, runs, run_logging, metrics, artifacts, artifact_uploads, experiments),
    *(admin_tenants, admin_keys, audit),
):
    router.include_router(part.router)
