"""Wiring: settings to services, services to the two APIs."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any, cast

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from app.api import docs_page, mlflow, probes, trailing_slash, workbench
from app.api.guard import ErrorHandler, Guard
from app.api.run_json_cache import RunJsonCache
from app.api.tenant_path import TenantPathMiddleware
from app.api.workbench import problem_details
from app.config import Settings
from app.kernel.errors import TrackingError
from app.kernel.malloc import return_large_blocks
from app.observability.monitor import Monitor
from app.observability.request_middleware import RequestMiddleware
from app.services import Services

_CLEAN_UP_SECONDS = 5.0


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application; its services open with its lifespan."""
    settings = settings or Settings()
    monitor = Monitor(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        return_large_blocks()
        app.state.services = Services.build(settings, RunJsonCache())
        # What was imported stays for good: the collector need not look through it again.
        gc.collect()
        gc.freeze()
        try:
            async with monitor.running(app.state.services):
                yield
                await _all_answered(monitor)
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
        docs_url=None,  # app.api.docs_page has the page
        redoc_url=None,  # its page asks Google for fonts
    )
    app.state.monitor = monitor

    def services() -> Services:
        found: Services = app.state.services
        return found

    app.router.routes.extend(mlflow.mounts(services))
    app.include_router(docs_page.router)
    app.include_router(probes.router)
    app.include_router(workbench.router)
    problem_details.install(app)
    trailing_slash.install(app)
    _surround(app, settings, monitor)
    return app


async def _all_answered(monitor: Monitor) -> None:
    """Wait for requests that were broken off: they clean up behind themselves."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLEAN_UP_SECONDS):
            while monitor.requests.open:  # noqa: ASYNC110 (a count that hot paths keep)
                await asyncio.sleep(0.01)


def cors(origins: list[str]) -> dict[str, Any]:
    """What pages of these origins may send and read, from their visitors' browsers.

    Without credentials: a browser would add them by itself, whichever page asks. A page sends the
    key of its user in a header.
    """
    return {
        "allow_origins": origins,
        "allow_methods": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
        "allow_headers": [
            "Authorization",
            "If-None-Match",
            "If-Range",
            "Range",
            "X-MLFLOW-WORKSPACE",
            "X-Request-ID",
            "X-Tenant-ID",
        ],
        "expose_headers": [
            "Accept-Ranges",
            "Content-Disposition",
            "Content-Range",
            "ETag",
            "Link",
            "Retry-After",
            "X-Request-ID",
        ],
    }


def _surround(app: FastAPI, settings: Settings, monitor: Monitor) -> None:
    """Put what every request passes around all that Starlette has, also around the middleware that
    answers what nobody handled, which it otherwise keeps outermost."""
    build = app.build_middleware_stack

    def stack() -> ASGIApp:
        templates: dict[object, str] = {
            route.endpoint: route.path
            for route in iter_route_contexts(app.routes)
            if isinstance(route.original_route, APIRoute) and route.path is not None
        }
        inner: ASGIApp = mlflow.Shortcut(build(), app.router.routes)
        if settings.origins:
            inner = CORSMiddleware(inner, **cors(settings.origins))
        problem = cast(ErrorHandler, app.exception_handlers[TrackingError])
        guarded = Guard(inner, settings.hosts, settings.origins, problem)
        watched = RequestMiddleware(guarded, monitor.access, monitor.requests, templates)
        return TenantPathMiddleware(watched)

    app.build_middleware_stack = stack  # type: ignore[method-assign]  # built at the first request
