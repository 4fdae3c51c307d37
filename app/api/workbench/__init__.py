"""The workbench's REST API: thin routes over the services, RFC 9457 errors, OpenAPI at /docs."""

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
    """The name of the handler, which is what generated clients call their functions."""
    return route.name


router = APIRouter(
    prefix="/api/v1",
    dependencies=[Depends(document_tenant_header)],
    generate_unique_id_function=_operation_id,
)
# In this order: /experiments/runs would else be the experiment "runs", and /runs/compare a run.
for part in (
    *(compare, runs, run_logging, metrics, artifacts, artifact_uploads, experiments),
    *(admin_tenants, admin_keys, audit),
):
    router.include_router(part.router)
