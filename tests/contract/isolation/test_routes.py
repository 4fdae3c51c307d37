"""Every route, called as one tenant with the ids of another: the answer is that of an id that
never was, and nothing of the other's changes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.api.mlflow import PREFIXES
from tests.conftest import Postgres
from tests.contract.isolation.belongings import Belongings
from tests.contract.isolation.callers import Caller, files_of, filled_tenant, rows_of, told_apart
from tests.contract.isolation.case import IN_PATH, NAMING
from tests.contract.isolation.cases import CASES, DIRECTORY, OF_NO_TENANT
from tests.contract.isolation.routes import Served, mounted, served

_calls = 0


@pytest.fixture(scope="module")
def routes(app: FastAPI) -> dict[str, Served]:
    return served(app)


@pytest_asyncio.fixture(scope="module")
async def theirs(app: FastAPI) -> Belongings:
    """What the tenant has that the others must not see."""
    return await filled_tenant(app)


@pytest.fixture(autouse=True, scope="module")
def counted() -> Iterator[None]:
    yield
    print(f"\nisolation: {len(CASES)} routes with cases, {_calls} calls")


def test_there_is_something_to_see_in_every_table(
    theirs: Belongings, postgres: Postgres, data_dir: Path
) -> None:
    rows = rows_of(postgres.owner_url, theirs.ids["tenant"])
    assert {table for table, found in rows.items() if not found} == set()
    # Four artifacts; the key and a part of an upload.
    assert len(files_of(data_dir, theirs.ids["tenant"])) == 6


@pytest.mark.parametrize("name", sorted(CASES))
async def test_another_tenants_ids_are_like_ids_that_never_were(
    name: str,
    app: FastAPI,
    routes: dict[str, Served],
    theirs: Belongings,
    postgres: Postgres,
    data_dir: Path,
) -> None:
    global _calls
    slug = theirs.ids["tenant"]
    before = rows_of(postgres.owner_url, slug), files_of(data_dir, slug)
    for case in CASES[name]:
        _calls += 2
        assert await told_apart(app, routes[name], case, theirs) is None, case
    assert (rows_of(postgres.owner_url, slug), files_of(data_dir, slug)) == before


def test_every_route_has_a_case(routes: dict[str, Served]) -> None:
    """Or is known to be about no tenant, or refuses whatever it is asked."""
    known = set(CASES) | OF_NO_TENANT | set(DIRECTORY)
    refusing = {name for name, route in routes.items() if route.refuses}
    print(
        f"{len(routes)} routes: {len(CASES)} with cases, {len(OF_NO_TENANT)} of no tenant,"
        f" {len(DIRECTORY)} of the directory, {len(refusing)} that refuse everything"
    )
    assert set(routes) - known - refusing == set()
    assert known - set(routes) == set()


async def test_routes_that_refuse_everything(
    app: FastAPI, routes: dict[str, Served], theirs: Belongings
) -> None:
    caller = await Caller.fresh(app)
    for route in routes.values():
        if route.refuses:
            for path in ("x", "artifacts-of", theirs.ids["run"]):
                answer = await caller.client.request(
                    route.method, route.path.replace("{path}", path).replace("{rest}", path)
                )
                assert answer.status_code in (404, 405), route.name


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_field_that_names_something_is_tried(
    name: str, app: FastAPI, routes: dict[str, Served]
) -> None:
    untried = naming_fields(app, routes[name])
    for case in CASES[name]:
        given = (IN_PATH | case.path) if "{" in routes[name].path else {}
        given = given | case.query | (case.json or {}) | (case.form or {})
        tried = {key for key, value in given.items() if "<" in json.dumps(value)}
        untried -= tried
    assert untried == set()


def naming_fields(app: FastAPI, route: Served) -> set[str]:
    """The fields of the route's requests that can name what a tenant has."""
    if route.endpoint is not None:
        return set(route.endpoint.message.__struct_fields__) & NAMING
    page = app.openapi()
    operation = page["paths"].get(route.path, {}).get(route.method.lower(), {})
    fields = {one["name"] for one in operation.get("parameters", [])}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = content["schema"]
        reference = schema.get("$ref") or schema.get("anyOf", [{}])[0].get("$ref", "")
        parts = page["components"]["schemas"].get(reference.rpartition("/")[2], {})
        fields |= set(parts.get("properties", {}))
    return fields & NAMING


def test_all_of_mlflows_prefixes_are_the_same_applications(app: FastAPI) -> None:
    """So that the cases, which use one prefix, hold for all."""
    found = mounted(app)
    assert {name: {path for path, _ in places} for name, places in found.items()} == {
        "ArtifactRoutes": {f"{prefix}/mlflow-artifacts" for prefix in PREFIXES},
        "MlflowApi": {f"{prefix}{name}" for prefix in PREFIXES for name in ("/mlflow", "mlflow")},
        "PageFiles": {"/get-artifact", "/model-versions/get-artifact"},
    }
    assert {name: len({one for _, one in places}) for name, places in found.items()} == {
        "ArtifactRoutes": 1,
        "MlflowApi": 1,
        "PageFiles": 1,
    }
