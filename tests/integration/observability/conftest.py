"""An application for each test, with its own settings, on the shared database."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from app.config import Settings
from app.main import create_app
from tests.conftest import AppClient, new_slug

Serve = Callable[..., AbstractAsyncContextManager[AppClient]]


@pytest.fixture
def serve(settings: Settings) -> Serve:
    """`async with serve(cors_origins=…) as client`: a client of no tenant in particular, which is
    then a fresh one."""

    @asynccontextmanager
    async def serve(client_address: str = "127.0.0.1", **changes: Any) -> AsyncIterator[AppClient]:
        changed = Settings(
            _env_file=None, **(settings.model_dump() | {"default_tenant": new_slug()} | changes)
        )
        application = create_app(changed)
        async with (
            application.router.lifespan_context(application),
            AppClient(application, "http://localhost", address=client_address) as client,
        ):
            yield client

    return serve
