"""The workbench's REST API: thin routes over the services, RFC 9457 errors, OpenAPI at /docs."""

from fastapi import APIRouter, Depends

from app.api.workbench import artifacts, compare, experiments, logging, metrics, runs
from app.api.workbench.dependencies import document_tenant_header
from app.api.workbench.openapi import DESCRIPTION, SERVERS, TAGS

__all__ = ["DESCRIPTION", "SERVERS", "TAGS", "router"]

router = APIRouter(prefix="/api/v1", dependencies=[Depends(document_tenant_header)])
# In this order: /experiments/runs would else be the experiment "runs", and /runs/compare a run.
for part in (compare, runs, logging, metrics, artifacts, experiments):
    router.include_router(part.router)
