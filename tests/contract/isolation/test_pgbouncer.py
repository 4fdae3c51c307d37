"""Behind a pooler that hands each transaction another connection: two tenants, interleaved."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.config import Settings
from app.main import create_app
from tests.clients.test_examples import Seen, sees_nothing_of, take_tour
from tests.conftest import new_slug, running_server
from tests.contract.isolation.callers import filled_tenant, rows_of, told_apart
from tests.contract.isolation.cases import CASES
from tests.contract.isolation.pgbouncer import PROGRAM, SERVER_CONNECTIONS, Pooled, pgbouncer
from tests.contract.isolation.routes import served

TASKS = 6
V1 = "/api/v1/experiments"


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pooled]:
    if PROGRAM is None:
        can_be_installed = os.getuid() == 0 and shutil.which("apt-get")
        assert not ("CI" in os.environ and can_be_installed), ".ci/run should have installed it"
        pytest.skip("PgBouncer is not installed (Debian: pgbouncer)")
    with pgbouncer(tmp_path_factory.mktemp("pgbouncer")) as it:
        yield it


@pytest.fixture(scope="module")
def pooled_server(pooled: Pooled, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of two workers, with 20 connections to the pooler."""
    folder = tmp_path_factory.mktemp("pooled")
    environment = {
        "TRACKING_DATABASE_URL": pooled.app_url,
        "TRACKING_MIGRATION_DATABASE_URL": pooled.owner_url,
        "TRACKING_DATA_DIR": str(folder),
        "TRACKING_WORKERS": "2",
    }
    with running_server(environment, folder / "log") as (url, _):
        yield url


@pytest_asyncio.fixture(scope="module")
async def pooled_app(
    pooled: Pooled, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FastAPI]:
    settings = Settings(
        _env_file=None,
        database_url=pooled.app_url,
        data_dir=tmp_path_factory.mktemp("app"),
        auto_create_tenants=True,
        allowed_hosts="test",
    )
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest.mark.timeout(300)
async def test_tour_of_two_tenants_side_by_side(
    pooled_server: str, pooled: Pooled, tmp_path: Path
) -> None:
    uris = [f"{pooled_server}/t/{new_slug()}" for _ in range(2)]
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    printed = await asyncio.gather(*map(take_tour, uris, folders))
    assert all("all as logged" in output for output in printed)
    async with (
        httpx.AsyncClient(base_url=uris[0]) as one,
        httpx.AsyncClient(base_url=uris[1]) as other,
    ):
        mine, theirs = await Seen.by(one), await Seen.by(other)
        await sees_nothing_of(mine, theirs)
        await sees_nothing_of(theirs, mine)
    assert_shared(pooled)


async def test_the_workbench_for_two_tenants_interleaved(
    pooled_server: str, pooled: Pooled
) -> None:
    slugs = [new_slug(), new_slug()]
    limits = httpx.Limits(max_connections=40)
    async with httpx.AsyncClient(base_url=pooled_server, limits=limits, timeout=60) as client:
        made = await asyncio.gather(
            *(work(client, slug, number) for number in range(TASKS) for slug in slugs)
        )
        for slug in slugs:
            own = {run_id for its_slug, run_id in made if its_slug == slug}
            listed = await call(client, "GET", slug, f"{V1}/runs", params={"limit": 1000})
            assert {run["id"] for run in listed["runs"]} == own
            for its_slug, run_id in made:
                seen = await client.get(f"{V1}/runs/{run_id}", headers={"X-Tenant-ID": slug})
                assert seen.status_code == (200 if its_slug == slug else 404)
    assert_shared(pooled)


async def work(client: httpx.AsyncClient, slug: str, number: int) -> tuple[str, str]:
    """The flow of the quick start and what follows it; names the same for every tenant."""
    experiment = await call(client, "POST", slug, V1, json={"name": f"e{number}"})
    run = await call(
        client, "POST", slug, f"{V1}/runs", json={"experiment_id": experiment["id"], "name": slug}
    )
    at = f"{V1}/runs/{run['id']}"
    for step in range(10):
        await call(
            client,
            "POST",
            slug,
            f"{at}/log-batch",
            json={"metrics": [{"key": "loss", "value": step, "step": step}], "tags": {"of": slug}},
        )
    await call(client, "POST", slug, f"{at}/log-params", json={"params": {"of": slug}})
    upload = {"file": ("of.txt", slug.encode())}
    await call(client, "POST", slug, f"{at}/log-artifact", files=upload)
    history = await call(client, "GET", slug, f"{at}/metrics/loss")
    assert [point["step"] for point in history["points"]] == list(range(10))
    found = await call(
        client, "GET", slug, f"{V1}/runs", params={"filter": "metrics.loss = 9", "limit": 1000}
    )
    assert run["id"] in {one["id"] for one in found["runs"]}
    assert {one["params"].get("of") for one in found["runs"]} <= {slug, None}
    assert {one["tags"]["matih.tenant_id"] for one in found["runs"]} == {slug}
    sent = await client.get(f"{at}/artifacts/of.txt", headers={"X-Tenant-ID": slug})
    assert sent.text == slug
    ended = await call(client, "POST", slug, f"{at}/end")
    assert ended["status"] == "finished"
    return slug, run["id"]


async def call(
    client: httpx.AsyncClient, method: str, slug: str, url: str, **arguments: Any
) -> Any:
    answer = await client.request(method, url, headers={"X-Tenant-ID": slug}, **arguments)
    assert answer.is_success, answer.text
    return answer.json()


async def test_every_route_with_another_tenants_ids(pooled_app: FastAPI, pooled: Pooled) -> None:
    """The cases of test_routes.py, eight at a time."""
    routes = served(pooled_app)
    theirs = await filled_tenant(pooled_app)
    before = rows_of(pooled.owner_url, theirs.ids["tenant"])
    limit = asyncio.Semaphore(8)

    async def play(name: str) -> None:
        async with limit:
            for case in CASES[name]:
                assert await told_apart(pooled_app, routes[name], case, theirs) is None, case

    await asyncio.gather(*map(play, CASES))
    assert rows_of(pooled.owner_url, theirs.ids["tenant"]) == before
    assert_shared(pooled)


def assert_shared(pooled: Pooled) -> None:
    """More clients than connections, and more transactions than one connection each would see."""
    (pool,) = [
        one
        for one in pooled.show("POOLS")
        if (one["database"], one["user"]) == ("tracking", "tracking_app")
    ]
    clients = [one for one in pooled.show("CLIENTS") if one["user"] == "tracking_app"]
    servers = [one for one in pooled.show("SERVERS") if one["user"] == "tracking_app"]
    (stats,) = [one for one in pooled.show("STATS") if one["database"] == "tracking"]
    assert pool["pool_mode"] == "transaction"
    assert 1 <= len(servers) <= SERVER_CONNECTIONS < len(clients)
    assert stats["total_xact_count"] > 100
    print(
        f"PgBouncer: {stats['total_xact_count']} transactions of {len(clients)} clients"
        f" on {len(servers)} connections"
    )
