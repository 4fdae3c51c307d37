"""Quotas of requests, points, runs and artifact bytes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.api.run_json_cache import RunJsonCache
from app.config import Settings
from app.kernel.errors import RateLimitedError
from app.kernel.tenant import Tenant
from app.services import Services
from app.tenants import lookup
from app.tenants.lookup import TenantLookup
from app.tenants.quotas import Quotas
from tests.conftest import client_of

API = "/api/2.0/mlflow"
PROXY = "/api/2.0/mlflow-artifacts/artifacts"
RUNS = "/api/v1/experiments/runs"


def ok(answer: httpx.Response) -> Any:
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


@pytest_asyncio.fixture
async def limited(services: Services, tenant: Tenant) -> Any:
    """Sets quotas of the test's tenant, which this worker goes by at once."""

    async def limit(**quotas: int | None) -> None:
        await services.quotas.set_limits(tenant, quotas)
        await services.tenant_lookup.resolve(tenant.slug)

    return limit


@pytest_asyncio.fixture
async def run_id(client: httpx.AsyncClient) -> str:
    made = ok(await client.post(f"{API}/runs/create", json={"experiment_id": "0"}))
    return str(made["run"]["info"]["run_id"])


async def log(client: httpx.AsyncClient, run_id: str, count: int, start: int = 0) -> httpx.Response:
    points = [
        {"key": "m", "value": 1, "timestamp": start + n, "step": start + n} for n in range(count)
    ]
    return await client.post(f"{API}/runs/log-batch", json={"run_id": run_id, "metrics": points})


async def points_of(client: httpx.AsyncClient, run_id: str) -> int:
    answer = await client.get(
        f"{API}/metrics/get-history", params={"run_id": run_id, "metric_key": "m"}
    )
    return len(ok(answer).get("metrics", []))


class TestRequests:
    async def test_beyond_the_rate(self, client: httpx.AsyncClient, limited: Any) -> None:
        await limited(requests_per_second=3)
        answers = [await client.get("/api/v1/experiments") for _ in range(30)]
        refused = [one for one in answers if one.status_code != 200]
        assert answers[0].status_code == 200
        assert {one.status_code for one in refused} == {429}
        assert len(refused) >= 10
        assert refused[0].headers["retry-after"] == "1"
        assert "3 requests a second (quota requests_per_second)" in refused[0].json()["detail"]
        answer = await client.get(f"{API}/experiments/get?experiment_id=0")
        assert answer.json()["error_code"] == "RESOURCE_EXHAUSTED"
        assert answer.headers["retry-after"] == "1"

    async def test_as_told_it_goes_on(self, client: httpx.AsyncClient, limited: Any) -> None:
        await limited(requests_per_second=2)
        while (answer := await client.get("/api/v1/experiments")).status_code == 200:
            pass
        await asyncio.sleep(float(answer.headers["retry-after"]))
        ok(await client.get("/api/v1/experiments"))

    async def test_other_tenants_do_not_feel_it(
        self, client: httpx.AsyncClient, other_client: httpx.AsyncClient, limited: Any
    ) -> None:
        await limited(requests_per_second=1)
        for _ in range(5):
            await client.get("/api/v1/experiments")
            ok(await other_client.get("/api/v1/experiments"))

    async def test_lifted(self, client: httpx.AsyncClient, limited: Any) -> None:
        await limited(requests_per_second=1)
        await limited(requests_per_second=None)
        for _ in range(20):
            ok(await client.get("/api/v1/experiments"))


class TestPoints:
    async def test_beyond_the_day(
        self, client: httpx.AsyncClient, run_id: str, limited: Any
    ) -> None:
        await limited(points_per_day=10)
        ok(await log(client, run_id, 6))
        answer = await log(client, run_id, 5, start=6)
        assert answer.status_code == 429
        assert 0 < int(answer.headers["retry-after"]) <= 60
        assert "10 points a day (quota points_per_day)" in answer.json()["message"]
        ok(await log(client, run_id, 4, start=6))
        answer = await client.post(f"{RUNS}/{run_id}/log-metrics", json={"metrics": {"m": 1}})
        assert answer.status_code == 429
        assert answer.json()["type"] == "urn:tracking:rate-limited"
        assert await points_of(client, run_id) == 10

    async def test_what_was_not_written_is_not_counted(
        self, client: httpx.AsyncClient, run_id: str, limited: Any
    ) -> None:
        await limited(points_per_day=10)
        assert (await log(client, "0" * 32, 8)).status_code == 404
        assert (await log(client, run_id, 11)).status_code == 429
        ok(await log(client, run_id, 10))

    async def test_params_and_tags_are_no_points(
        self, client: httpx.AsyncClient, run_id: str, limited: Any
    ) -> None:
        await limited(points_per_day=0)
        assert (await log(client, run_id, 1)).status_code == 429
        body = {"run_id": run_id, "params": [{"key": "p", "value": "1"}]}
        ok(await client.post(f"{API}/runs/log-batch", json=body))

    @pytest.mark.parametrize("limit", [100, 1000, 12_345])
    async def test_by_several_workers_at_once(
        self, services: Services, tenant: Tenant, limited: Any, limit: int
    ) -> None:
        """Never more than the quota, and, by what each worker took in advance, hardly less."""
        await limited(points_per_day=limit)
        workers = []
        for _ in range(4):
            tenants = TenantLookup(services.database, creates=False)
            await tenants.resolve(tenant.slug)
            workers.append(Quotas(services.database, tenants, workers=4))
        size = max(1, limit // 200)

        async def use_up(quotas: Quotas) -> int:
            taken = 0
            try:
                while True:
                    await quotas.take_points(tenant, size)
                    taken += size
            except RateLimitedError:
                return taken

        taken = sum(await asyncio.gather(*(use_up(one) for one in workers for _ in range(3))))
        assert limit * 0.95 <= taken <= limit
        assert (await services.quotas.usage(tenant)).points_today >= taken


class TestRuns:
    async def test_beyond_the_number(self, client: httpx.AsyncClient, limited: Any) -> None:
        await limited(runs=2)
        made = [ok(await client.post(f"{API}/runs/create", json={})) for _ in range(2)]
        answer = await client.post(f"{API}/runs/create", json={})
        assert answer.status_code == 403
        assert answer.json()["error_code"] == "PERMISSION_DENIED"
        assert "2 runs, deleted ones included (quota runs)" in answer.json()["message"]
        answer = await client.post(RUNS, json={"experiment_id": "0"})
        assert answer.status_code == 403
        assert answer.json()["type"] == "urn:tracking:quota-exceeded"
        run_id = made[0]["run"]["info"]["run_id"]
        ok(await client.post(f"{API}/runs/delete", json={"run_id": run_id}))
        assert (await client.post(f"{API}/runs/create", json={})).status_code == 403
        await limited(runs=3)
        ok(await client.post(f"{API}/runs/create", json={}))

    async def test_by_many_at_once(self, client: httpx.AsyncClient, limited: Any) -> None:
        await limited(runs=5)
        answers = await asyncio.gather(
            *(client.post(f"{API}/runs/create", json={}) for _ in range(20))
        )
        assert sorted(one.status_code for one in answers) == [200] * 5 + [403] * 15


class TestArtifacts:
    @pytest_asyncio.fixture
    async def folder(self, client: httpx.AsyncClient) -> AsyncIterator[str]:
        info = ok(await client.post(f"{API}/runs/create", json={}))["run"]["info"]
        yield f"{PROXY}/{info['artifact_uri'].removeprefix('mlflow-artifacts:/')}"

    async def test_by_the_declared_length(
        self, client: httpx.AsyncClient, folder: str, limited: Any
    ) -> None:
        await limited(artifact_bytes=100)
        ok(await client.put(f"{folder}/a", content=b"x" * 60))
        answer = await client.put(f"{folder}/b", content=b"x" * 41)
        assert answer.status_code == 403
        assert "100 bytes of artifacts and has 60 (quota artifact_bytes)" in answer.text
        ok(await client.put(f"{folder}/b", content=b"x" * 40))
        assert (await client.put(f"{folder}/c", content=b"")).status_code == 403
        assert (await client.delete(f"{folder}/a")).status_code == 200
        ok(await client.put(f"{folder}/c", content=b"x"))

    async def test_by_what_comes(
        self, client: httpx.AsyncClient, folder: str, limited: Any
    ) -> None:
        """A body of no declared length is broken off, and nothing of it is kept."""
        await limited(artifact_bytes=100_000)
        sent = 0

        async def body() -> AsyncIterator[bytes]:
            nonlocal sent
            for _ in range(1000):
                sent += 1000
                yield b"x" * 1000

        answer = await client.put(f"{folder}/a", content=body())
        assert answer.status_code == 403
        assert sent <= 200_000
        assert (await client.get(f"{folder}/a")).status_code == 404
        ok(await client.put(f"{folder}/a", content=b"x" * 100_000))

    async def test_by_the_workbench(
        self, client: httpx.AsyncClient, run_id: str, limited: Any
    ) -> None:
        await limited(artifact_bytes=10)
        url = f"{RUNS}/{run_id}/log-artifact"
        answer = await client.post(url, files={"file": ("a.txt", b"x" * 11)})
        assert answer.status_code == 403
        ok(await client.post(url, files={"file": ("a.txt", b"x" * 10)}))


class TestUsage:
    async def test_of_everything(
        self, app: FastAPI, client: httpx.AsyncClient, tenant: Tenant, run_id: str, limited: Any
    ) -> None:
        async with client_of(app, None) as operator:
            url = f"/api/v1/admin/tenants/{tenant.slug}/usage"
            unlimited = ok(await operator.get(url))
            assert unlimited["points_today"] is None
            await limited(points_per_day=50)
            ok(await log(client, run_id, 7))
            files = {"file": ("a.txt", b"hello")}
            ok(await client.post(f"{RUNS}/{run_id}/log-artifact", files=files))
            used = ok(await operator.get(url))
        assert {key: used[key] for key in ("points_today", "runs", "artifact_bytes")} == {
            "points_today": 7,
            "runs": 1,
            "artifact_bytes": 5,
        }
        assert used["quotas"]["points_per_day"] == 50


async def test_another_worker_goes_by_new_quotas_within_seconds(
    settings: Settings, services: Services, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "CACHE_SECONDS", 0.3)
    other = Services.build(settings, RunJsonCache())
    try:
        await other.tenant_lookup.resolve(tenant.slug)
        assert other.tenant_lookup.limits(tenant) is None
        await services.quotas.set_limits(tenant, {"runs": 7})
        while (limits := other.tenant_lookup.limits(tenant)) is None:
            await asyncio.sleep(0.02)
            await other.tenant_lookup.resolve(tenant.slug)
        assert limits.runs == 7
    finally:
        await other.close()
