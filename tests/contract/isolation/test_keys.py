"""The same with authentication on: a key of another tenant, of its admin even, reaches nothing."""

import asyncio
from pathlib import Path

import pytest
import pytest_asyncio
from fastapi import FastAPI

from tests.conftest import AppClient, Postgres
from tests.contract.isolation.belongings import Belongings
from tests.contract.isolation.callers import Caller, files_of, filled_tenant, rows_of, told_apart
from tests.contract.isolation.case import IN_PATH
from tests.contract.isolation.cases import CASES, DIRECTORY
from tests.contract.isolation.routes import Served, served

ALL = CASES | DIRECTORY


@pytest.fixture(scope="module")
def routes(keyed: FastAPI) -> dict[str, Served]:
    return served(keyed)


@pytest_asyncio.fixture(scope="module")
async def theirs(keyed: FastAPI) -> Belongings:
    return await filled_tenant(keyed)


async def test_another_tenants_ids_are_like_ids_that_never_were(
    keyed: FastAPI,
    routes: dict[str, Served],
    theirs: Belongings,
    postgres: Postgres,
    data_dir: Path,
) -> None:
    slug = theirs.ids["tenant"]
    before = rows_of(postgres.owner_url, slug), files_of(data_dir, slug)
    calls = 0
    for name, cases in ALL.items():
        for case in cases:
            calls += 2
            assert await told_apart(keyed, routes[name], case, theirs) is None, (name, case)
    assert (rows_of(postgres.owner_url, slug), files_of(data_dir, slug)) == before
    print(f"with keys: {len(ALL)} routes, {calls} calls")


@pytest.mark.parametrize("how", ["path", "X-Tenant-ID", "X-MLFLOW-WORKSPACE", "path and header"])
async def test_naming_another_tenant(
    keyed: FastAPI, routes: dict[str, Served], theirs: Belongings, how: str
) -> None:
    """403 on every route, in the same words for a tenant that there is and one that never was."""
    caller = await Caller.fresh(keyed)
    authorization = caller.client.headers["authorization"]
    own, their_slug = caller.own["own_tenant"], theirs.ids["tenant"]
    async with AppClient(keyed) as client:

        async def refusal(route: Served, slug: str) -> str:
            headers = {"authorization": authorization}
            path = "" if how.startswith("X-") else f"/t/{slug}"
            if how.startswith("X-"):
                headers[how] = slug
            elif how == "path and header":
                headers["X-Tenant-ID"] = own
            answer = await client.request(
                route.method, f"http://test{path}{concrete(route, own)}", headers=headers
            )
            # Two names that disagree are refused as such; a signed URL's are in its path only.
            disagree = how == "path and header" and "/signed/" not in route.path
            expected = (400,) if disagree else (403,)
            assert answer.status_code in expected, (route.name, answer.text)
            # Names that disagree are told in their order, of which one is the caller's own.
            return answer.text.replace(slug, "<tenant>").replace(own, "<tenant>")

        for name in ALL:
            assert await refusal(routes[name], their_slug) == await refusal(routes[name], "no-one")


def concrete(route: Served, tenant: str) -> str:
    path = route.path
    for name in IN_PATH:
        path = path.replace(f"{{{name}}}", tenant if name in ("tenant", "workspace_name") else "x")
    return path


async def test_many_keys_at_once(keyed: FastAPI, routes: dict[str, Served]) -> None:
    """What a worker remembers of one key is never used for another."""
    callers = await asyncio.gather(*(Caller.fresh(keyed) for _ in range(20)))

    async def sees_its_own(caller: Caller) -> None:
        for _ in range(10):
            answer = await caller.client.get("/api/v1/experiments/runs")
            assert [run["id"] for run in answer.json()["runs"]] == [caller.own["own_run"]]

    await asyncio.gather(*map(sees_its_own, callers))
