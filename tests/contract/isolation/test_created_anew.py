"""A tenant that is deleted, and one that is created anew under its name: whatever was handed out or
is remembered of the first is worth nothing with the second, in the worker that deleted it at once,
and in any other from the start."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.artifacts.transfer_limits import TransferSlots
from app.auth import authenticator
from app.config import Settings
from app.kernel.errors import UnavailableError
from app.kernel.tenant import Tenant
from app.tenants import lookup as tenants
from tests.conftest import ADMIN_KEY, Postgres, client_of, new_slug
from tests.contract.isolation.artifact_cases import GRANTS
from tests.contract.isolation.belongings import Belongings, belongings
from tests.contract.isolation.callers import Caller, files_of, filled_tenant, rows_of
from tests.contract.isolation.cases import CASES, DIRECTORY
from tests.contract.isolation.routes import PROXY, served
from tests.contract.isolation.test_signed_urls import granted
from tests.integration.conftest import bearer, guarded

MANAGED = "/api/v1/admin/tenants"


@dataclass(frozen=True)
class Workers:
    """Two applications on one database. The second is told of nothing, and asks for nothing again
    that it was once told."""

    first: FastAPI
    second: FastAPI

    async def delete(self, slug: str) -> None:
        async with bearer(self.first, ADMIN_KEY) as operator:
            answer = await operator.delete(f"{MANAGED}/{slug}", params={"cascade": True})
            assert answer.status_code == 204, answer.text

    async def create(self, slug: str) -> None:
        async with bearer(self.first, ADMIN_KEY) as operator:
            answer = await operator.post(MANAGED, json={"slug": slug, "description": "the second"})
            assert answer.status_code == 201, answer.text

    async def anew(self, slug: str) -> None:
        await self.delete(slug)
        await self.create(slug)


@pytest_asyncio.fixture
async def workers(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Workers]:
    for module in (authenticator, tenants):
        monkeypatch.setattr(module, "CACHE_SECONDS", 3600.0)
    made = {"auto_create_tenants": True}
    async with guarded(settings, **made) as first, guarded(settings, **made) as second:
        yield Workers(first, second)


async def key_of(app: FastAPI, slug: str, role: str = "admin") -> str:
    tenant = await app.state.services.tenant_lookup.require(slug)
    return str((await app.state.services.keys.create(tenant, role))[1])


async def test_no_route_of_another_worker_lets_its_key_in(
    workers: Workers, postgres: Postgres, data_dir: Path
) -> None:
    """Though that worker still takes the key for good: its tenant is another."""
    caller = await Caller.fresh(workers.second)
    slug = caller.own["own_tenant"]
    assert (await caller.client.get("/api/v1/experiments")).json()["total"] == 2
    await workers.anew(slug)
    theirs = await filled_tenant(workers.first, slug)
    before = rows_of(postgres.owner_url, slug), files_of(data_dir, slug)
    routes = served(workers.second)
    for name, cases in (CASES | DIRECTORY).items():
        for case in cases:
            answer, shown = await caller.call(routes[name], case, theirs.ids)
            assert answer.status_code < 500, (name, case, shown)
            assert theirs.marker not in shown, (name, case)
            assert "the second" not in shown, (name, case)
    assert (rows_of(postgres.owner_url, slug), files_of(data_dir, slug)) == before


async def test_the_keys_of_the_new_tenant_are_not_taken_for_the_old_ones(
    workers: Workers,
) -> None:
    """Also in a worker that knows the slug from before."""
    caller = await Caller.fresh(workers.second)
    slug = caller.own["own_tenant"]
    await workers.anew(slug)
    async with bearer(workers.second, await key_of(workers.first, slug)) as admin:
        assert (await admin.get("/api/v1/experiments")).json()["total"] == 1
        shown = await admin.get(f"{MANAGED}/{slug}")
        assert shown.json()["description"] == "the second"
        made = await admin.post(f"{MANAGED}/{slug}/keys", json={"role": "read"})
        assert made.status_code == 201, made.text
        assert (await admin.get(f"{MANAGED}/{slug}/keys")).json()["total"] == 2
        answer = await admin.post("/api/v1/experiments", json={"name": "x"})
        assert answer.status_code == 201, answer.text


async def test_an_operator_manages_the_tenant_that_there_is(workers: Workers) -> None:
    slug = (await Caller.fresh(workers.second)).own["own_tenant"]
    await workers.anew(slug)
    async with bearer(workers.second, ADMIN_KEY) as operator:
        made = await operator.post(f"{MANAGED}/{slug}/keys", json={"role": "read"})
        assert made.status_code == 201, made.text
        quotas = {"quotas": {"runs": 7}}
        changed = await operator.patch(f"{MANAGED}/{slug}", json=quotas)
        assert changed.json()["quotas"]["runs"] == 7
    async with bearer(workers.second, made.json()["key"]) as reader:
        assert (await reader.get("/api/v1/experiments")).json()["total"] == 1


async def test_the_worker_that_deletes_it_forgets_it_at_once(workers: Workers) -> None:
    caller = await Caller.fresh(workers.first)
    slug = caller.own["own_tenant"]
    assert (await caller.client.get("/api/v1/experiments")).status_code == 200
    await workers.delete(slug)
    answer = await caller.client.get("/api/v1/experiments")
    assert answer.status_code == 401, answer.text
    await workers.create(slug)
    for path in ("/api/v1/experiments", f"{MANAGED}/{slug}", "/api/2.0/mlflow/workspaces"):
        answer = await caller.client.get(path)
        assert answer.status_code == 401, (path, answer.text)


async def test_quotas_and_audit_log_are_not_inherited(workers: Workers) -> None:
    caller = await Caller.fresh(workers.first)
    slug = caller.own["own_tenant"]
    async with bearer(workers.first, ADMIN_KEY) as operator:
        quotas = {"runs": 0, "requests_per_second": 1, "points_per_day": 0, "artifact_bytes": 0}
        limited = await operator.patch(f"{MANAGED}/{slug}", json={"quotas": quotas})
        assert limited.status_code == 200, limited.text
    await workers.anew(slug)
    async with bearer(workers.first, await key_of(workers.first, slug)) as admin:
        for number in range(5):
            body = {"experiment_id": "0", "name": str(number)}
            answer = await admin.post("/api/v1/experiments/runs", json=body)
            assert answer.status_code == 201, answer.text
        events = (await admin.get("/api/v1/audit")).json()["events"]
    actions = {one["action"] for one in events}
    assert actions == {"tenant.create", "key.create"}
    assert [one["action"] for one in events].count("key.create") == 1


@pytest.mark.parametrize("kind", GRANTS)
async def test_signed_urls(workers: Workers, kind: str, postgres: Postgres, data_dir: Path) -> None:
    """Neither worker takes them, whether or not it still knows the tenant that they were for."""
    theirs = await filled_tenant(workers.first)
    slug = theirs.ids["tenant"]
    assert files_of(data_dir, slug)
    await workers.delete(slug)
    assert files_of(data_dir, slug) == {}  # nor is there an upload that they could add to
    for create in (False, True):
        if create:
            await workers.create(slug)
            rows = rows_of(postgres.owner_url, slug)
        for app in (workers.first, workers.second):
            answer = await granted(kind, theirs).send(app)
            assert answer.status_code == 403, answer.text
            assert "signature" in answer.json()["message"]
    assert rows_of(postgres.owner_url, slug) == rows
    assert files_of(data_dir, slug) == {}


async def test_signed_urls_in_a_worker_that_knows_the_old_tenant(
    workers: Workers, postgres: Postgres, data_dir: Path
) -> None:
    theirs = await filled_tenant(workers.second)
    slug = theirs.ids["tenant"]
    await workers.anew(slug)
    before = rows_of(postgres.owner_url, slug), files_of(data_dir, slug)
    for kind in GRANTS:
        answer = await granted(kind, theirs).send(workers.second)
        assert 400 <= answer.status_code < 500, answer.text
    assert (rows_of(postgres.owner_url, slug), files_of(data_dir, slug)) == before


async def test_unfinished_uploads_go_with_the_tenant(workers: Workers, data_dir: Path) -> None:
    """One that was begun for the experiment that every tenant has, too."""
    slug = new_slug()
    await workers.create(slug)
    key = await key_of(workers.first, slug)
    async with bearer(workers.first, key) as client:
        run = (await client.post("/api/v1/experiments/runs", json={"experiment_id": "0"})).json()
        at = f"{PROXY}/mpu/create/experiments/0/runs/{run['id']}/artifacts"
        begun = await client.post(at, json={"path": "parts.bin", "num_parts": 2})
        assert begun.status_code == 200, begun.text
    assert files_of(data_dir, slug)
    await workers.anew(slug)
    assert files_of(data_dir, slug) == {}


@asynccontextmanager
async def open_to_all(settings: Settings) -> AsyncIterator[Workers]:
    off = {"auth": "off", "allowed_hosts": "test"}
    async with guarded(settings, **off) as first, guarded(settings, **off) as second:
        yield Workers(first, second)


async def test_where_nobody_is_asked_for_a_key(
    settings: Settings, postgres: Postgres, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that still knows the slug reads and writes nothing of the new tenant's, and says so
    to who writes: what it answered for is not lost."""
    monkeypatch.setattr(tenants, "CACHE_SECONDS", 3600.0)
    async with open_to_all(settings) as workers:
        caller = await Caller.fresh(workers.second)
        slug = caller.own["own_tenant"]
        await workers.anew(slug)
        tenant = await workers.first.state.services.tenant_lookup.require(slug)
        async with client_of(workers.first, tenant) as client:
            theirs: Belongings = await belongings(client, slug)
        before = rows_of(postgres.owner_url, slug), files_of(data_dir, slug)
        routes = served(workers.second)
        for name, cases in CASES.items():
            for case in cases:
                answer, shown = await caller.call(routes[name], case, theirs.ids)
                assert answer.status_code < 500, (name, case, shown)
                assert theirs.marker not in shown, (name, case)
        for url, message in (
            ("/api/v1/experiments", {"name": "lost"}),
            ("/api/v1/experiments/runs", {"experiment_id": "0"}),
            ("/api/2.0/mlflow/registered-models/create", {"name": "lost"}),
        ):
            answer = await caller.client.post(url, json=message)
            assert answer.status_code in (404, 409), (url, answer.text)
        assert (rows_of(postgres.owner_url, slug), files_of(data_dir, slug)) == before


async def test_transfers_of_the_old_tenant_take_no_slots_of_the_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.artifacts.transfer_limits.WAIT_SECONDS", 0.05)
    slots = TransferSlots(1)
    old = await slots.take("acme")
    with pytest.raises(UnavailableError):
        await slots.take("acme")
    slots.forget(Tenant(1, "acme"))
    new = await slots.take("acme")
    old.give_back()
    with pytest.raises(UnavailableError):
        await slots.take("acme")
    new.give_back()
