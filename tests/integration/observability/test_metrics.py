"""/metrics: the counts, and who may read them."""

import asyncio
import re

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Postgres, new_slug
from tests.integration.observability.conftest import Serve

TOKEN = "a token for the scraper, long enough"

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def scrape(client: httpx.AsyncClient, **headers: str) -> Samples:
    answer = await client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    return parse(answer.text)


def parse(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def requests(samples: Samples, **labels: str) -> float:
    return sum(
        value
        for (name, given), value in samples.items()
        if name == "tracking_requests_total" and labels.items() <= dict(given).items()
    )


class TestRequests:
    async def test_by_method_route_and_status(self, serve: Serve) -> None:
        async with serve() as client:
            for number in range(3):
                await client.get(f"/api/v1/experiments/runs/{number:032x}")
            await client.post("/api/2.0/mlflow/runs/create", json={"experiment_id": "0"})
            await client.get("/api/2.0/mlflow/logged-models/m-1")
            await client.get(f"/{new_slug()}")
            samples = await scrape(client)
        route = "/api/v1/experiments/runs/{run_id}"
        assert requests(samples, method="GET", route=route, status="404") == 3
        created = {"method": "POST", "route": "/api/2.0/mlflow/runs/create", "status": "200"}
        assert requests(samples, **created) == 1
        assert requests(samples, route="/api/2.0/mlflow/logged-models/{model_id}") == 1
        assert requests(samples, route="(no such route)", status="404") == 1
        bucket = (("le", "+Inf"), ("method", "GET"), ("route", route))
        assert samples["tracking_request_seconds_bucket", bucket] == 3
        assert samples["tracking_open_requests", ()] == 1

    async def test_whatever_is_sent_the_series_are_few(self, serve: Serve) -> None:
        """Nothing that a client makes up becomes a label."""
        async with serve() as client:
            for number in range(30):
                await client.request(f"ODD{number}", f"/odd/{number}")
                await client.get(f"/t/{new_slug()}/api/v1/experiments/{number}/no/{number}")
                await client.get(f"/api/2.0/mlflow/odd/{number}")
                await client.get(f"/api/2.0/mlflow-artifacts/odd/{number}")
            samples = await scrape(client)
        made = {key for key in samples if key[0] == "tracking_requests_total"}
        assert requests(samples) == 120
        assert len(made) <= 6
        assert requests(samples, method="OTHER") == 30

    async def test_tenants_are_not_told_apart_unless_asked(self, serve: Serve) -> None:
        async with serve() as client:
            await client.get("/api/v1/experiments", headers={"X-Tenant-ID": new_slug()})
            answer = await client.get("/metrics")
        assert "tenant=" not in answer.text

    async def test_so_many_tenants_are_told_apart(self, serve: Serve) -> None:
        slugs = [new_slug() for _ in range(4)]
        async with serve(metrics_tenants=2) as client:
            for slug in slugs:
                await client.get("/api/v1/experiments", headers={"X-Tenant-ID": slug})
            samples = await scrape(client)
        counted = [requests(samples, tenant=slug) for slug in slugs]
        assert counted == [1, 1, 0, 0]
        assert requests(samples, tenant="(other)") == 2


class TestTheRest:
    async def test_flushes_the_pool_the_database_and_the_build(self, serve: Serve) -> None:
        async with serve(database_pool_size=7) as client:
            created = await client.post("/api/2.0/mlflow/runs/create", json={"experiment_id": "0"})
            run_id = created.json()["run"]["info"]["run_id"]
            metrics = [{"key": "loss", "value": 1, "timestamp": 1, "step": s} for s in range(9)]
            await asyncio.gather(
                *(
                    client.post(
                        "/api/2.0/mlflow/runs/log-batch",
                        json={"run_id": run_id, "metrics": metrics},
                    )
                    for _ in range(3)
                )
            )
            samples = await scrape(client)
        assert samples["tracking_flush_items_sum", ()] == 30
        flushes = samples["tracking_flush_seconds_count", ()]
        assert flushes == samples["tracking_flush_items_count", ()] >= 1
        assert samples["tracking_flush_failures_total", ()] == 0
        assert samples["tracking_waiting_writes", ()] == 0
        assert samples["tracking_waiting_items", ()] == 0
        assert samples["tracking_pool_size", ()] == 7
        assert samples["tracking_pool_in_use", ()] == 0
        assert samples["tracking_pool_waiting", ()] == 0
        assert samples["tracking_database_up", ()] == 1
        assert samples["tracking_workers", ()] == 1
        assert any(name == "tracking_build_info" for name, _ in samples)

    async def test_a_database_that_is_not_there(self, serve: Serve, postgres: Postgres) -> None:
        """The others are shown all the same: that is when they are looked at."""
        absent = re.sub(r"(host=|@)[^/?&]*", r"\1/nowhere", postgres.app_url)
        assert absent != postgres.app_url
        async with serve(database_url=absent) as client:
            await client.get("/api/v1/experiments")
            samples = await scrape(client)
        assert samples["tracking_database_up", ()] == 0
        assert requests(samples, status="503") == 1

    async def test_errors_are_counted(self, serve: Serve) -> None:
        async with serve() as client:
            before = (await scrape(client))["tracking_logged_error_total", ()]
            object.__setattr__(client.app.state.services, "experiments", None)
            assert (await client.get("/api/v1/experiments")).status_code == 500
            after = await scrape(client)
        assert after["tracking_logged_error_total", ()] == before + 1
        assert requests(after, status="500", route="/api/v1/experiments") == 1


class TestWhoMaySee:
    async def test_this_machine_where_nothing_is_set(self, serve: Serve) -> None:
        for address, status in (("127.0.0.1", 200), ("::1", 200), ("192.0.2.7", 403)):
            async with serve(address) as client:
                assert (await client.get("/metrics")).status_code == status

    @pytest.mark.parametrize(
        ("given", "status"),
        [
            (f"Bearer {TOKEN}", 200),
            (f"bearer {TOKEN}", 200),
            (None, 401),
            ("Bearer ", 401),
            ("Bearer wrong", 401),
            (f"Basic {TOKEN}", 401),
            (f"Bearer {TOKEN}x", 401),
        ],
    )
    async def test_whoever_has_the_token(
        self, serve: Serve, given: str | None, status: int
    ) -> None:
        async with serve("192.0.2.7", metrics_token=TOKEN) as client:
            headers = {"Authorization": given} if given is not None else {}
            answer = await client.get("/metrics", headers=headers)
        assert answer.status_code == status
        assert ("www-authenticate" in answer.headers) == (status == 401)

    async def test_with_keys_whoever_has_the_admin_key(self, serve: Serve) -> None:
        key = "k" * 40
        async with serve(auth="keys", admin_key=key) as client:
            assert (await client.get("/metrics")).status_code == 401
            bearer = {"Authorization": f"Bearer {key}"}
            assert (await client.get("/metrics", headers=bearer)).status_code == 200

    async def test_with_keys_and_no_admin_key_nobody(self, serve: Serve) -> None:
        async with serve(auth="keys") as client:
            assert (await client.get("/metrics")).status_code == 401
