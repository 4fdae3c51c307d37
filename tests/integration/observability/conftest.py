"""An application for each test, with its own settings, on the shared database."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest

from app.config import Settings
from app.main import create_app
from tests.conftest import new_slug

Serve = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def serve(settings: Settings) -> Serve:
    """`async with serve(cors_origins=…) as client`: a client of no tenant in particular, which is
    then a fresh one."""

    @asynccontextmanager
    async def serve(
        client_address: str = "127.0.0.1", **changes: Any
    ) -> AsyncIterator[httpx.AsyncClient]:
        changed = Settings(
            _env_file=None, **(settings.model_dump() | {"default_tenant": new_slug()} | changes)
        )
        application = create_app(changed)
        transport = httpx.ASGITransport(
            application, raise_app_exceptions=False, client=(client_address, 50_000)
        )
        async with (
            application.router.lifespan_context(application),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
        ):
            yield client

    return serve
