"""Probes of operators and load balancers: health, readiness, version, and metrics."""

import asyncio
import hmac
from contextlib import suppress
from importlib.metadata import version
from ipaddress import ip_address

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel

from app.api import mlflow
from app.config import Settings
from app.db import migrate
from app.kernel.errors import UnavailableError
from app.observability import prometheus
from app.observability.monitor import Monitor
from app.services import Services

router = APIRouter(tags=["Operations"])


class Health(BaseModel):
    status: str = "ok"


class Readiness(BaseModel):
    """`schema_state` is `current`, `behind`, `ahead` or `empty`; null if the database is not
    reachable."""

    ready: bool
    database: str
    schema_state: str | None


class Version(BaseModel):
    """`schema_revision` is the migration whose schema this version needs, `mlflow_version` the
    version of MLflow whose API it serves."""

    name: str = "tracking"
    version: str
    schema_revision: str
    mlflow_version: str


@router.get("/health", summary="Health: the process answers")
async def health() -> Health:
    return Health()


@router.get(
    "/ready",
    summary="Readiness: the database answers, and has the schema of this version",
    responses={503: {"model": Readiness, "description": "Not ready to serve"}},
)
async def ready(request: Request, response: Response) -> Readiness:
    try:
        state = await request.app.state.services.database.ready()
    except UnavailableError as error:
        response.status_code = 503
        return Readiness(ready=False, database=error.message, schema_state=None)
    if state != "current":
        response.status_code = 503
    return Readiness(ready=state == "current", database="reachable", schema_state=state)


@router.get(
    "/version",
    summary="The version of MLflow that this server takes the place of",
    response_class=PlainTextResponse,
)
async def get_mlflow_version() -> PlainTextResponse:
    """MLflow's client reads it, and sends no spans to a version before 3.4."""
    return PlainTextResponse(mlflow.MLFLOW_VERSION)


@router.get("/api/v1/version", summary="The version of this server")
async def get_version() -> Version:
    return Version(
        version=version("tracking"),
        schema_revision=migrate.head(),
        mlflow_version=mlflow.MLFLOW_VERSION,
    )


# How many seconds Postgres has to answer; a scrape waits for ten at most.
_DATABASE_SECONDS = 3


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """The metrics of all workers, in Prometheus' text format."""
    services: Services = request.app.state.services
    monitor: Monitor = request.app.state.monitor
    _check_may_see_metrics(request, services.settings)
    up = False
    with suppress(UnavailableError, TimeoutError):
        async with (
            asyncio.timeout(_DATABASE_SECONDS),
            services.database.without_tenant() as connection,
        ):
            await connection.exec_driver_sql("SELECT 1")
            up = True
    # In a thread: to render 250 kB takes milliseconds, for which other requests should not wait.
    text = await asyncio.to_thread(
        prometheus.render,
        monitor.snapshot(services.statistics()),
        database_up=up,
        by_tenant=services.settings.metrics_tenants > 0,
    )
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _check_may_see_metrics(request: Request, settings: Settings) -> None:
    """Check for the metrics token or the admin key; if neither is set, for a loopback address.

    Raises HTTPException 401 and 403.
    """
    secrets = [
        secret.get_secret_value().encode()
        for secret in (settings.metrics_token, settings.admin_key)
        if secret is not None
    ]
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and any(
        hmac.compare_digest(secret, given.strip().encode("latin-1")) for secret in secrets
    ):
        return
    if secrets or settings.auth != "off":
        raise HTTPException(
            401,
            "Metrics need TRACKING_METRICS_TOKEN or the admin key, sent as"
            " 'Authorization: Bearer …'",
            headers={"WWW-Authenticate": 'Bearer realm="tracking"'},
        )
    if not _is_local(request):
        raise HTTPException(
            403, "Metrics are served to this machine alone until TRACKING_METRICS_TOKEN is set"
        )


def _is_local(request: Request) -> bool:
    with suppress(ValueError):
        return request.client is not None and ip_address(request.client.host).is_loopback
    return False
