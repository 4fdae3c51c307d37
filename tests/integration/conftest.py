"""The application with authentication on, on the same database as all other tests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.config import Settings
from app.kernel.tenant import Tenant
from app.main import create_app
from app.services import Services
from tests.conftest import ADMIN_KEY, AppClient

NewKey = Callable[..., Awaitable[str]]


@asynccontextmanager
async def guarded(settings: Settings, **changes: object) -> AsyncIterator[FastAPI]:
    """An application that asks for keys."""
    with_keys = {"auth": "keys", "admin_key": ADMIN_KEY, "allowed_hosts": ""} | changes
    application = create_app(
        Settings(_env_file=None, **(settings.model_dump(exclude_unset=True) | with_keys))
    )
    async with application.router.lifespan_context(application):
        yield application


@pytest_asyncio.fixture(scope="session")
async def keys_app(settings: Settings) -> AsyncIterator[FastAPI]:
    async with guarded(settings) as application:
        yield application


@pytest.fixture(scope="session")
def keys_services(keys_app: FastAPI) -> Services:
    return keys_app.state.services


@pytest.fixture
def new_key(keys_services: Services, tenant: Tenant) -> NewKey:
    """Makes a key of the test's tenant, or of another one."""

    async def make(role: str = "write", of: Tenant = tenant, **options: object) -> str:
        return (await keys_services.keys.create(of, role, **options))[1]

    return make


def bearer(app: FastAPI, key: str) -> AppClient:
    """A client with a key, whose URLs name no tenant."""
    return caller(app, {"Authorization": f"Bearer {key}"})


def caller(app: FastAPI, headers: dict[str, str] | None = None) -> AppClient:
    return AppClient(app, headers=headers)


@pytest_asyncio.fixture
async def operator(keys_app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with bearer(keys_app, ADMIN_KEY) as client:
        yield client


@pytest_asyncio.fixture
async def anyone(keys_app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key."""
    async with caller(keys_app) as client:
        yield client


async def until_refused(client: httpx.AsyncClient) -> httpx.Response:
    """The first answer that is not 200; a key that works for ever fails by the test's timeout."""
    while True:
        answer = await client.get("/api/v1/experiments")
        if answer.status_code != 200:
            return answer
        await asyncio.sleep(0.05)
