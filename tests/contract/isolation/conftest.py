"""The application with authentication on."""

from collections.abc import AsyncIterator

import pytest_asyncio
from fastapi import FastAPI

from app.config import Settings
from app.main import create_app


@pytest_asyncio.fixture(scope="module")
async def keyed(settings: Settings) -> AsyncIterator[FastAPI]:
    with_keys = settings.model_dump(exclude_unset=True) | {
        "auth": "keys",
        "auto_create_tenants": True,
    }
    app = create_app(Settings(_env_file=None, **with_keys))
    async with app.router.lifespan_context(app):
        yield app
