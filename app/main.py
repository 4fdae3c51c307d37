"""Wiring: settings to services, services to the two APIs."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app.api import mlflow, operations, workbench
from app.api.workbench import problems
from app.config import Settings
from app.services import Services
from app.tenancy.middleware import TenantPathMiddleware


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application; its services open with its lifespan."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.services = Services.build(settings or Settings())
        # What was imported stays for good: the collector need not look through it again.
        gc.collect()
        gc.freeze()
        try:
            yield
        finally:
            await app.state.services.close()

    app = FastAPIOffline(
        title="Experiment tracking",
        version=version("tracking"),
        summary="Multi-tenant experiment tracking: experiments, runs, metrics, artifacts.",
        description=workbench.DESCRIPTION,
        openapi_tags=workbench.TAGS,
        servers=workbench.SERVERS,
        lifespan=lifespan,
        redoc_url=None,  # its page asks Google for fonts
    )

    def services() -> Services:
        found: Services = app.state.services
        return found

    app.router.routes.extend(mlflow.mounts(services))
    app.include_router(operations.router)
    app.include_router(workbench.router)
    problems.install(app)
    app.add_middleware(TenantPathMiddleware)
    return app
