"""The application: its services, its routes, and the dispatcher in front of them."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.types import Receive, Scope, Send

from app.api import docs_page, mlflow, probes, run_page, trailing_slash, workbench
from app.api.dispatcher import Dispatcher
from app.api.mlflow_page import MlflowPage
from app.api.run_json_cache import RunJsonCache
from app.api.workbench import problem_details
from app.config import Settings
from app.kernel.malloc import return_large_blocks
from app.observability.monitor import Monitor
from app.services import Services

_SHUTDOWN_SECONDS = 5.0


class Application(FastAPI):
    """FastAPI, with the dispatcher in front of it.

    `state.services` holds the services while the lifespan lasts, `state.monitor` the counts.
    """

    def __init__(self, settings: Settings) -> None:
        monitor = Monitor(settings)
        super().__init__(
            title="Experiment tracking",
            version=version("tracking"),
            summary="Multi-tenant experiment tracking: experiments, runs, metrics, artifacts.",
            description=workbench.DESCRIPTION,
            openapi_tags=workbench.TAGS,
            servers=workbench.SERVERS,
            exception_handlers=problem_details.EXCEPTION_HANDLERS,
            lifespan=lambda app: _lifespan(self, settings, monitor),
            docs_url=None,  # app.api.docs_page has the page
            redoc_url=None,  # its page asks Google for fonts
            redirect_slashes=False,  # app.api.trailing_slash redirects
        )
        self.state.monitor = monitor
        docs_page.mount(self)
        run_page.mount(self, leads_to_mlflow=settings.mlflow_ui)
        self.include_router(probes.router)
        self.include_router(workbench.router)
        trailing_slash.install(self)
        self.dispatcher = Dispatcher(
            mlflow.applications(lambda: self.services),
            super().__call__,
            settings,
            monitor,
            _route_templates(self),
            MlflowPage(settings.mlflow_page, lambda: self.services.authenticator)
            if settings.mlflow_page
            else None,
        )

    @property
    def services(self) -> Services:
        services: Services = self.state.services
        return services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.dispatcher(scope, receive, send)
        else:  # the lifespan
            await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        return problem_details.with_problem_schema(super().openapi())


def create_app(settings: Settings | None = None) -> Application:
    """The ASGI application; its services open with its lifespan."""
    return Application(settings or Settings())


@asynccontextmanager
async def _lifespan(app: Application, settings: Settings, monitor: Monitor) -> AsyncIterator[None]:
    return_large_blocks()
    app.state.services = Services.build(settings, RunJsonCache())
    # Modules stay for good: the garbage collector need not look through them again.
    gc.collect()
    gc.freeze()
    try:
        async with monitor.running(app.services.statistics):
            yield
            await _requests_ended(monitor)
    finally:
        await app.services.close()


async def _requests_ended(monitor: Monitor) -> None:
    """Wait for the requests that the server has cancelled: they still clean up."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_SHUTDOWN_SECONDS):
            while monitor.requests.open:  # noqa: ASYNC110 (a count that hot paths keep)
                await asyncio.sleep(0.01)


def _route_templates(app: FastAPI) -> dict[object, str]:
    """The paths of FastAPI's routes, such as `/api/v1/experiments/{experiment_id}`, by endpoint.

    A route itself knows its path only below the router that it was included in.
    """
    return {
        route.endpoint: route.path
        for route in iter_route_contexts(app.routes)
        if isinstance(route.original_route, APIRoute) and route.path is not None
    }
