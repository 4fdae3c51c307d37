"""The ways to name a tenant, and requests of unknown tenants."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import httpx
import psycopg
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.config import Settings
from tests.integration.mlflow_api.model_calls import API, invalid
from tests.integration.mlflow_api.tracking_calls import (
    NO_RUN,
    absent_experiment,
    absent_run,
    done,
    ok,
)

PROXY = "/api/2.0/mlflow-artifacts/artifacts"
CREATE = f"{API}/experiments/create"
MALFORMED = ["A", "a_b", "-a", "a-", "a.b", "a" * 49, "ü", "a b", ".."]


@pytest_asyncio.fixture
async def anyone(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose base URL names no tenant."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as it:
        yield it


@pytest.fixture
def slug() -> str:
    """The slug of a tenant that does not exist."""
    return f"t-{secrets.token_hex(6)}"


def exists(settings: Settings, slug: str) -> bool:
    with psycopg.connect(settings.migration_database_url or "") as connection:
        query = "SELECT 1 FROM tenants WHERE slug = %s"
        return connection.execute(query, [slug]).fetchone() is not None


async def experiments_of(
    anyone: httpx.AsyncClient, prefix: str = "", **headers: str
) -> dict[str, str]:
    """Name and `matih.tenant_id` of the experiments that a caller sees."""
    answer = ok(
        await anyone.post(
            f"{prefix}{API}/experiments/search", json={"max_results": 9}, headers=headers
        )
    )
    return {one["name"]: one["tags"][-1]["value"] for one in answer.get("experiments", [])}


class TestNames:
    @pytest.mark.parametrize(
        ("prefix", "headers"),
        [
            ("/t/{0}", {}),
            ("", {"x-tenant-id": "{0}"}),
            ("", {"x-mlflow-workspace": "{0}"}),
            ("/t/{0}", {"x-tenant-id": "{0}"}),
            ("/t/{0}", {"x-tenant-id": "{0}", "x-mlflow-workspace": "{0}"}),
        ],
    )
    async def test_each_alone_and_agreeing(
        self, anyone: httpx.AsyncClient, slug: str, prefix: str, headers: dict[str, str]
    ) -> None:
        prefix = prefix.format(slug)
        headers = {name: value.format(slug) for name, value in headers.items()}
        ok(await anyone.post(f"{prefix}{CREATE}", json={"name": "x"}, headers=headers))
        expected = {"x": slug, "Default": slug}
        assert await experiments_of(anyone, prefix, **headers) == expected
        assert await experiments_of(anyone, f"/t/{slug}") == expected

    @pytest.mark.parametrize(
        ("prefix", "headers"),
        [
            ("/t/a", {"x-tenant-id": "b"}),
            ("/t/a", {"x-mlflow-workspace": "b"}),
            ("", {"x-tenant-id": "a", "x-mlflow-workspace": "b"}),
        ],
    )
    async def test_disagreeing(
        self,
        anyone: httpx.AsyncClient,
        settings: Settings,
        prefix: str,
        headers: dict[str, str],
    ) -> None:
        for answer in (
            await anyone.post(f"{prefix}{CREATE}", json={"name": "x"}, headers=headers),
            await anyone.get(f"{prefix}{PROXY}", headers=headers),
        ):
            invalid(answer, "The request names different tenants: a, b")
        assert not exists(settings, "a")

    @pytest.mark.parametrize("name", MALFORMED)
    async def test_malformed(self, anyone: httpx.AsyncClient, name: str) -> None:
        for header in ("x-tenant-id", "x-mlflow-workspace"):
            headers = {header: name.encode()}
            for answer in (
                await anyone.post(CREATE, json={"name": "x"}, headers=headers),
                await anyone.get(PROXY, headers=headers),
            ):
                invalid(answer, "Invalid tenant", header)

    @pytest.mark.parametrize("name", [*MALFORMED[:-1], "%2e%2e", "a%2fb", "%00", ""])
    async def test_malformed_in_the_path(self, anyone: httpx.AsyncClient, name: str) -> None:
        for answer in (
            await anyone.post(f"/t/{name}{CREATE}", json={"name": "x"}),
            await anyone.get(f"/t/{name}{PROXY}"),
        ):
            assert 400 <= answer.status_code < 500, answer.text

    async def test_none_is_the_default_tenant(self, anyone: httpx.AsyncClient, slug: str) -> None:
        ok(await anyone.post(CREATE, json={"name": slug}))
        assert (await experiments_of(anyone))[slug] == "default"
        assert (await experiments_of(anyone, "/t/default"))[slug] == "default"

    async def test_empty_header_names_nobody(self, anyone: httpx.AsyncClient, slug: str) -> None:
        headers = {"x-tenant-id": "", "x-mlflow-workspace": ""}
        assert await experiments_of(anyone, f"/t/{slug}", **headers) == {"Default": slug}


class TestArtifacts:
    @pytest.mark.parametrize(
        ("prefix", "headers"),
        [
            ("/t/{0}", {}),
            ("", {"x-tenant-id": "{0}"}),
            ("", {"x-mlflow-workspace": "{0}"}),
        ],
    )
    async def test_by_every_name(
        self, anyone: httpx.AsyncClient, slug: str, prefix: str, headers: dict[str, str]
    ) -> None:
        prefix = prefix.format(slug)
        headers = {name: value.format(slug) for name, value in headers.items()}
        created = ok(await anyone.post(f"{prefix}{API}/runs/create", json={}, headers=headers))
        uri = created["run"]["info"]["artifact_uri"]
        path = f"{PROXY}/{uri.removeprefix('mlflow-artifacts:/')}/a.txt"
        done(await anyone.put(f"{prefix}{path}", content=b"x", headers=headers))
        assert (await anyone.get(f"/t/{slug}{path}")).content == b"x"
        assert (await anyone.get(path)).status_code == 404
        assert (await anyone.get(path, headers={"x-tenant-id": "other"})).status_code == 404


class TestUnknownTenant:
    """It exists once it writes. Reads find its experiment 0, and do not create it; nor does a
    write that is refused."""

    @pytest.mark.parametrize(
        ("method", "route", "fields", "status"),
        [
            ("GET", "experiments/get", {"experiment_id": "0"}, 200),
            ("GET", "experiments/get", {"experiment_id": "1"}, 404),
            ("GET", "experiments/get-by-name", {"experiment_name": "Default"}, 200),
            ("GET", "experiments/get-by-name", {"experiment_name": "x"}, 404),
            ("POST", "experiments/search", {"max_results": 1}, 200),
            ("POST", "experiments/create", {"name": "Default"}, 400),
            ("POST", "experiments/create", {"name": "x", "artifact_location": "/etc"}, 400),
            ("POST", "experiments/delete", {"experiment_id": "1"}, 404),
            ("POST", "experiments/restore", {"experiment_id": "0"}, 404),
            ("POST", "experiments/update", {"experiment_id": "1", "new_name": "x"}, 404),
            ("POST", "experiments/update", {"experiment_id": "0", "new_name": "n" * 501}, 400),
            ("POST", "experiments/set-experiment-tag", {"experiment_id": "1", "key": "k"}, 404),
            ("POST", "experiments/set-experiment-tag", {"experiment_id": "0", "key": "a!"}, 400),
            ("POST", "experiments/delete-experiment-tag", {"experiment_id": "0", "key": "k"}, 404),
            ("POST", "runs/create", {"experiment_id": "1"}, 404),
            ("POST", "runs/create", {"tags": [{"key": "a!", "value": ""}]}, 400),
            ("POST", "logged-models", {"experiment_id": "1"}, 404),
            ("POST", "logged-models", {"experiment_id": "0", "name": "a/b"}, 400),
            ("POST", "registered-models/create", {"name": "a/b"}, 400),
            ("POST", "model-versions/create", {"name": "m", "source": "s3://b/m"}, 404),
            ("GET", "runs/get", {"run_id": NO_RUN}, 404),
            ("POST", "runs/search", {"experiment_ids": ["0"]}, 200),
            ("POST", "runs/delete", {"run_id": NO_RUN}, 404),
            ("POST", "runs/log-batch", {"run_id": NO_RUN}, 404),
            ("POST", "runs/set-tag", {"run_id": NO_RUN, "key": "k"}, 404),
            ("GET", "metrics/get-history", {"run_id": NO_RUN, "metric_key": "m"}, 200),
            ("GET", "artifacts/list", {"run_id": NO_RUN}, 404),
            ("GET", "server-info", {}, 200),
        ],
    )
    async def test_no_trace_of_a_read(
        self,
        anyone: httpx.AsyncClient,
        settings: Settings,
        slug: str,
        method: str,
        route: str,
        fields: dict[str, Any],
        status: int,
    ) -> None:
        url = f"/t/{slug}{API}/{route}"
        if method == "GET":
            answer = await anyone.get(url, params=fields)
        else:
            answer = await anyone.post(url, json=fields)
        assert answer.status_code == status, answer.text
        assert not exists(settings, slug)

    async def test_in_the_same_words(
        self, anyone: httpx.AsyncClient, client: httpx.AsyncClient, slug: str
    ) -> None:
        absent_run(await anyone.get(f"/t/{slug}{API}/runs/get?run_id={NO_RUN}"), NO_RUN)
        absent_run(await client.get(f"{API}/runs/get?run_id={NO_RUN}"), NO_RUN)
        absent_experiment(await anyone.get(f"/t/{slug}{API}/experiments/get?experiment_id=7"), "7")
        absent_experiment(await client.get(f"{API}/experiments/get?experiment_id=7"), "7")

    async def test_artifacts(
        self, anyone: httpx.AsyncClient, settings: Settings, slug: str
    ) -> None:
        path = f"/t/{slug}{PROXY}/experiments/0/runs/{NO_RUN}/artifacts/a.txt"
        assert (await anyone.get(path)).status_code == 404
        done(await anyone.delete(path))
        assert ok(await anyone.get(f"/t/{slug}{PROXY}?path=experiments")) == {}
        assert not exists(settings, slug)

    async def test_experiment_0(self, anyone: httpx.AsyncClient, slug: str) -> None:
        """It is the same before and after the first write."""
        url = f"/t/{slug}{API}/experiments"

        async def shown() -> list[Any]:
            (found,) = ok(await anyone.post(f"{url}/search", json={"max_results": 9}))[
                "experiments"
            ]
            by_id = ok(await anyone.get(f"{url}/get?experiment_id=0"))["experiment"]
            by_name = ok(await anyone.get(f"{url}/get-by-name?experiment_name=Default"))[
                "experiment"
            ]
            return [
                {name: value for name, value in one.items() if not name.endswith("_time")}
                for one in (found, by_id, by_name)
            ]

        before = await shown()
        ok(await anyone.post(f"/t/{slug}{API}/runs/create", json={}))
        assert await shown() == before
        assert before[0] == before[1] == before[2]

    @pytest.mark.parametrize(
        ("search", "count"),
        [
            ({"filter": "name = 'Default'"}, 1),
            ({"filter": "name = 'other'"}, 0),
            ({"filter": "name LIKE 'D%' AND creation_time > 0"}, 1),
            ({"filter": "tags.t = '1'"}, 0),
            ({"filter": "tags.t IS NULL"}, 1),
            ({"view_type": "DELETED_ONLY"}, 0),
            ({"view_type": "ALL", "order_by": ["name", "last_update_time DESC"]}, 1),
        ],
    )
    async def test_experiment_0_in_searches(
        self,
        anyone: httpx.AsyncClient,
        client: httpx.AsyncClient,
        slug: str,
        search: dict[str, Any],
        count: int,
    ) -> None:
        for caller, prefix in ((anyone, f"/t/{slug}"), (client, "")):
            answer = await caller.post(
                f"{prefix}{API}/experiments/search", json={"max_results": 9} | search
            )
            assert len(ok(answer).get("experiments", [])) == count

    @pytest.mark.parametrize(
        ("query", "total"), [("", 1), ("?search=FAULT", 1), ("?search=x", 0), ("?offset=1", 1)]
    )
    async def test_experiment_0_in_the_workbench(
        self, anyone: httpx.AsyncClient, settings: Settings, slug: str, query: str, total: int
    ) -> None:
        url = f"/t/{slug}/api/v1/experiments"
        page = ok(await anyone.get(f"{url}{query}"))
        assert page["total"] == total
        shown = ok(await anyone.get(f"{url}/0"))
        assert (shown["name"], shown["tags"]) == ("Default", {"matih.tenant_id": slug})
        assert not exists(settings, slug)

    @pytest.mark.parametrize(
        ("path", "body", "status"),
        [
            ("experiments", {"name": "Default"}, 409),
            ("experiments", {"name": "x", "tags": {"a!": ""}}, 422),
            ("experiments/runs", {"experiment_id": "1"}, 404),
            ("experiments/runs", {"experiment_id": "0", "parent_run_id": NO_RUN}, 404),
            ("experiments/runs", {"experiment_id": "0", "tags": {"a!": ""}}, 422),
        ],
    )
    async def test_refused_in_the_workbench(
        self,
        anyone: httpx.AsyncClient,
        settings: Settings,
        slug: str,
        path: str,
        body: dict[str, Any],
        status: int,
    ) -> None:
        answer = await anyone.post(f"/t/{slug}/api/v1/{path}", json=body)
        assert answer.status_code == status, answer.text
        assert not exists(settings, slug)

    @pytest.mark.parametrize(
        ("route", "message"),
        [
            ("experiments/create", {"name": "x"}),
            ("experiments/set-experiment-tag", {"experiment_id": "0", "key": "k"}),
            ("runs/create", {"experiment_id": "0"}),
            ("logged-models", {"experiment_id": "0"}),
            ("registered-models/create", {"name": "m"}),
        ],
    )
    async def test_first_write_creates_it(
        self,
        anyone: httpx.AsyncClient,
        settings: Settings,
        slug: str,
        route: str,
        message: dict[str, str],
    ) -> None:
        ok(await anyone.post(f"/t/{slug}{API}/{route}", json=message))
        assert exists(settings, slug)
        answer = ok(await anyone.get(f"/t/{slug}{API}/experiments/get?experiment_id=0"))
        assert answer["experiment"]["name"] == "Default"

    async def test_first_write_may_change_experiment_0(
        self, anyone: httpx.AsyncClient, slug: str
    ) -> None:
        url = f"/t/{slug}{API}/experiments"
        done(await anyone.post(f"{url}/update", json={"experiment_id": "0", "new_name": "mine"}))
        assert await experiments_of(anyone, f"/t/{slug}") == {"mine": slug}
        done(await anyone.post(f"{url}/delete", json={"experiment_id": "0"}))
        assert await experiments_of(anyone, f"/t/{slug}") == {}

    async def test_first_write_of_the_workbench(self, anyone: httpx.AsyncClient, slug: str) -> None:
        url = f"/t/{slug}/api/v1/experiments"
        answer = await anyone.patch(f"{url}/0", json={"tags": {"k": "v"}})
        assert ok(answer)["tags"] == {"k": "v", "matih.tenant_id": slug}
        assert (await anyone.delete(f"{url}/0")).status_code == 204
        assert ok(await anyone.post(f"{url}/0/restore"))["lifecycle_stage"] == "active"

    async def test_malformed_write_does_not(
        self, anyone: httpx.AsyncClient, settings: Settings, slug: str
    ) -> None:
        answer = await anyone.post(f"/t/{slug}{CREATE}", json={})
        assert answer.status_code == 400
        assert not exists(settings, slug)
