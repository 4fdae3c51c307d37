"""The second wall alone: with every tenant filter taken out of the application's statements, row-
level security still keeps tenants apart. That the filters really are out is shown by a role that
row-level security does not hold: it sees, and changes, what is the other tenant's."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.config import Settings
from app.db import migrate
from app.db.embedded import embedded_postgres
from app.main import create_app
from tests.contract.isolation.callers import files_of, filled_tenant, rows_of, told_apart
from tests.contract.isolation.cases import CASES, NOT_KEPT
from tests.contract.isolation.routes import MLFLOW, PROXY, served
from tests.contract.isolation.unfiltered import without_tenant_filters

# What does not leak even so: these only make something new, or have no body to show it in, or send
# an artifact's bytes, which lie in a folder or bucket of the tenant's, whatever the index says, as
# do the parts of an upload. A signed URL is refused before anything is looked up. What is not kept
# is not looked up either.
NOT_BY_STATEMENTS = {
    *(route.replace(" ", f" {MLFLOW}/") for route in NOT_KEPT),
    f"POST {MLFLOW}/experiments/create",
    f"POST {MLFLOW}/registered-models/create",
    "POST /api/v1/experiments",
    f"HEAD {MLFLOW}/metrics/get-history",  # no body, and an unknown run has a history
    f"HEAD {PROXY}/artifacts",
    f"POST {PROXY}/mpu/abort/{{path}}",
    *(f"{method} {PROXY}/signed/{{path}}" for method in ("GET", "HEAD", "PUT")),
}


@dataclass(frozen=True)
class Server:
    """A Postgres of this module's own: here, one tenant's calls may change another's rows."""

    owner_url: str
    app_url: str
    bypassing_url: str
    data_dir: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("unfiltered")
    with embedded_postgres(data_dir, settings={"fsync": "off"}) as postgres:
        migrate.upgrade(postgres.owner_url)
        superuser = postgres.owner_url.replace("//tracking_owner@", "//postgres@")
        with psycopg.connect(superuser) as connection:
            connection.execute("CREATE ROLE bypassing LOGIN BYPASSRLS IN ROLE tracking_app")
        bypassing = postgres.app_url.replace("//tracking_app@", "//bypassing@")
        yield Server(postgres.owner_url, postgres.app_url, bypassing, data_dir)


@asynccontextmanager
async def application(server: Server, url: str) -> AsyncIterator[FastAPI]:
    settings = Settings(
        _env_file=None,
        database_url=url,
        data_dir=server.data_dir,
        auto_create_tenants=True,
        allowed_hosts="test",
    )
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest_asyncio.fixture(scope="module")
async def held(server: Server) -> AsyncIterator[FastAPI]:
    """The application as it serves: its role is subject to row-level security."""
    async with application(server, server.app_url) as app:
        yield app


@pytest_asyncio.fixture(scope="module")
async def bypassing(server: Server) -> AsyncIterator[FastAPI]:
    async with application(server, server.bypassing_url) as app:
        yield app


async def test_it_holds_alone(held: FastAPI, server: Server) -> None:
    """The whole workload without filters: what two tenants have is made, and asked for."""
    routes = served(held)
    with without_tenant_filters() as rewritten:
        theirs = await filled_tenant(held)
        slug = theirs.ids["tenant"]
        before = rows_of(server.owner_url, slug), files_of(server.data_dir, slug)
        calls = 0
        for name, cases in CASES.items():
            for case in cases:
                calls += 2
                assert await told_apart(held, routes[name], case, theirs) is None, (name, case)
        after = rows_of(server.owner_url, slug), files_of(server.data_dir, slug)
    assert before == after
    assert {table for table, rows in before[0].items() if not rows} == set()
    assert rewritten.filters > 3000
    print(
        f"row-level security alone: {len(CASES)} routes, {calls} calls, {rewritten.filters} filters"
        f" taken out of {rewritten.statements} statements ({len(rewritten.distinct)} different)"
    )


async def test_without_it_the_same_calls_leak(bypassing: FastAPI, server: Server) -> None:
    """Or the test above would show nothing."""
    routes = served(bypassing)
    leaking = set()
    theirs = await filled_tenant(bypassing)
    before = rows_of(server.owner_url, theirs.ids["tenant"])
    for name, cases in CASES.items():
        if rows_of(server.owner_url, theirs.ids["tenant"]) != before:
            theirs = await filled_tenant(bypassing)
            before = rows_of(server.owner_url, theirs.ids["tenant"])
        for case in cases:
            difference = await told_apart(
                bypassing, routes[name], case, theirs, during=without_tenant_filters
            )
            if difference or rows_of(server.owner_url, theirs.ids["tenant"]) != before:
                leaking.add(name)
                break
    print(f"without row-level security: {len(leaking)} of {len(CASES)} routes leak")
    assert set(CASES) - leaking == NOT_BY_STATEMENTS
