"""The admin API for tenants and their keys."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.kernel.clock import now_ms
from app.kernel.tenant import Tenant
from tests.conftest import AppClient, client_of, new_slug
from tests.integration.conftest import NewKey, bearer

TENANTS = "/api/v1/admin/tenants"


def ok(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def problem(answer: httpx.Response, status: int, words: str = "") -> Any:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]
    return answer.json()


@pytest_asyncio.fixture
async def admin(keys_app: FastAPI, new_key: NewKey) -> AsyncIterator[httpx.AsyncClient]:
    """The admin of the test's tenant."""
    async with bearer(keys_app, await new_key("admin")) as client:
        yield client


class TestTenants:
    async def test_from_first_to_last(self, operator: httpx.AsyncClient) -> None:
        slug = new_slug()
        problem(await operator.get(f"{TENANTS}/{slug}"), 404, f"Tenant '{slug}' does not exist")
        quotas = {"requests_per_second": 5, "runs": 10}
        made = ok(
            await operator.post(
                TENANTS, json={"slug": slug, "description": "first", "quotas": quotas}
            ),
            201,
        )
        none = {"points_per_day": None, "artifact_bytes": None}
        assert made["quotas"] == quotas | none
        assert (made["slug"], made["description"]) == (slug, "first")
        assert made["created_at"].endswith("Z")
        assert ok(await operator.get(f"{TENANTS}/{slug}")) == made
        problem(await operator.post(TENANTS, json={"slug": slug}), 409)

        changes = {"description": "second", "quotas": {"runs": None, "artifact_bytes": 2**40}}
        changed = ok(await operator.patch(f"{TENANTS}/{slug}", json=changes))
        assert changed["description"] == "second"
        expected = {"requests_per_second": 5, "runs": None} | none | {"artifact_bytes": 2**40}
        assert changed["quotas"] == expected

        assert (await operator.delete(f"{TENANTS}/{slug}")).status_code == 204
        problem(await operator.get(f"{TENANTS}/{slug}"), 404)

    async def test_listed_by_page(self, operator: httpx.AsyncClient, tenant: Tenant) -> None:
        first = ok(await operator.get(TENANTS, params={"limit": 1}))
        assert first["total"] > 0
        assert len(first["tenants"]) == 1
        pages = [
            ok(await operator.get(TENANTS, params={"limit": 1000, "offset": offset}))["tenants"]
            for offset in range(0, first["total"], 1000)
        ]
        slugs = [one["slug"] for page in pages for one in page]
        assert tenant.slug in slugs
        assert slugs == sorted(slugs)

    async def test_a_key_alone_does_not_keep_a_tenant(
        self, operator: httpx.AsyncClient, tenant: Tenant, new_key: NewKey
    ) -> None:
        await new_key()
        assert (await operator.delete(f"{TENANTS}/{tenant.slug}")).status_code == 204

    async def test_what_it_holds_does_unless_all_is_to_go(
        self, operator: AppClient, app: FastAPI, tenant: Tenant, new_key: NewKey
    ) -> None:
        key = await new_key("read")
        async with client_of(app, tenant) as client:
            ok(await client.post("/api/v1/experiments", json={"name": "x"}), 201)
        url = f"{TENANTS}/{tenant.slug}"
        problem(await operator.delete(url), 409, "experiments")
        assert (await operator.delete(url, params={"cascade": True})).status_code == 204
        problem(await operator.get(url), 404)
        async with bearer(operator.app, key) as client:
            problem(await client.get("/api/v1/experiments"), 401, "The API key is not valid")

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "slug"),
            ({"slug": "A"}, "slug"),
            ({"slug": "a" * 49}, "slug"),
            ({"slug": "a\n"}, "slug"),
            ({"slug": "fine", "description": "x" * 1001}, "description"),
            ({"slug": "fine", "quotas": {"runs": -1}}, "quotas.runs"),
            ({"slug": "fine", "quotas": {"runs": "1"}}, "quotas.runs"),
            ({"slug": "fine", "quotas": {"runs": 2**63}}, "quotas.runs"),
            ({"slug": "fine", "quotas": {"requests_per_second": 0}}, "quotas.requests_per_second"),
            ({"slug": "fine", "quotas": {"seats": 1}}, "quotas.seats"),
        ],
    )
    async def test_malformed(
        self, operator: httpx.AsyncClient, body: dict[str, Any], field: str
    ) -> None:
        found = problem(await operator.post(TENANTS, json=body), 422)
        assert [one["field"] for one in found["errors"]] == [field]
        problem(await operator.get(f"{TENANTS}/fine"), 404)

    async def test_an_admin_sees_its_own(
        self, admin: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant
    ) -> None:
        assert ok(await admin.get(f"{TENANTS}/{tenant.slug}"))["slug"] == tenant.slug
        assert ok(await admin.get(f"{TENANTS}/{tenant.slug}/usage"))["runs"] == 0
        for slug in (other_tenant.slug, new_slug(), "A"):
            for url in (f"{TENANTS}/{slug}", f"{TENANTS}/{slug}/usage", f"{TENANTS}/{slug}/keys"):
                problem(await admin.get(url), 403, f"The key is not one of the tenant '{slug}'")

    async def test_without_authentication_whoever_reaches_it_is_the_operator(
        self, app: FastAPI, tenant: Tenant
    ) -> None:
        async with client_of(app, None) as client:
            assert ok(await client.get(f"{TENANTS}/{tenant.slug}"))["slug"] == tenant.slug


class TestKeys:
    async def test_from_first_to_last(
        self, operator: httpx.AsyncClient, keys_app: FastAPI, tenant: Tenant
    ) -> None:
        url = f"{TENANTS}/{tenant.slug}/keys"
        until = now_ms() + 3_600_000
        answer = await operator.post(
            url, json={"role": "write", "name": "cluster", "expires_at": until}
        )
        made = ok(answer, 201)
        assert answer.headers["cache-control"] == "no-store"
        text = made.pop("key")
        assert text.startswith(made["prefix"] + "_")
        assert (made["name"], made["role"], made["status"]) == ("cluster", "write", "active")
        assert made["expires_at"] is not None
        assert (made["revoked_at"], made["last_used_at"]) == (None, None)

        shown = ok(await operator.get(f"{url}/{made['id']}"))
        assert shown == made
        listed = await operator.get(url)
        assert ok(listed) == {"keys": [made], "total": 1, "limit": 100, "offset": 0}
        assert text not in listed.text
        async with bearer(keys_app, text) as client:
            ok(await client.get("/api/v1/experiments"))
        assert ok(await operator.get(f"{url}/{made['id']}"))["last_used_at"] is not None

        revoked = ok(await operator.delete(f"{url}/{made['id']}"))
        assert revoked["status"] == "revoked"
        assert ok(await operator.delete(f"{url}/{made['id']}")) == revoked

    async def test_by_an_admin_of_the_tenant(
        self, admin: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        url = f"{TENANTS}/{tenant.slug}/keys"
        for role in ("read", "write", "admin"):
            assert ok(await admin.post(url, json={"role": role}), 201)["role"] == role
        assert ok(await admin.get(url))["total"] == 4
        page = ok(await admin.get(url, params={"limit": 2, "offset": 1}))
        assert len(page["keys"]) == 2

    async def test_rotated_at_once(
        self, operator: httpx.AsyncClient, keys_app: FastAPI, tenant: Tenant
    ) -> None:
        url = f"{TENANTS}/{tenant.slug}/keys"
        until = now_ms() + 3_600_000
        old = ok(
            await operator.post(url, json={"role": "read", "name": "n", "expires_at": until}), 201
        )
        new = ok(await operator.post(f"{url}/{old['id']}/rotate"), 201)
        assert (new["name"], new["role"], new["status"]) == ("n", "read", "active")
        assert new["id"] != old["id"]
        assert new["expires_at"] >= old["expires_at"]
        async with bearer(keys_app, new["key"]) as client:
            ok(await client.get("/api/v1/experiments"))
        async with bearer(keys_app, old["key"]) as client:
            problem(await client.get("/api/v1/experiments"), 401, "revoked")
        problem(await operator.post(f"{url}/{old['id']}/rotate"), 409, "revoked")

    async def test_rotated_with_an_overlap(
        self, operator: httpx.AsyncClient, keys_app: FastAPI, tenant: Tenant
    ) -> None:
        url = f"{TENANTS}/{tenant.slug}/keys"
        old = ok(await operator.post(url, json={"role": "read"}), 201)
        new = ok(
            await operator.post(f"{url}/{old['id']}/rotate", json={"overlap_seconds": 600}), 201
        )
        assert new["expires_at"] is None
        for text in (old["key"], new["key"]):
            async with bearer(keys_app, text) as client:
                ok(await client.get("/api/v1/experiments"))
        left = ok(await operator.get(f"{url}/{old['id']}"))
        assert (left["status"], left["expires_at"] is None) == ("active", False)

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "role"),
            ({"role": "owner"}, "role"),
            ({"role": "operator"}, "role"),
            ({"role": "read", "name": "x" * 201}, "name"),
            ({"role": "read", "name": "a\x1b[2J"}, "name"),
            ({"role": "read", "name": "a\x00"}, "name"),
            ({"role": "read", "expires_at": 1}, "expires_at"),
            ({"role": "read", "expires_at": "2030-01-01"}, "expires_at"),
            ({"role": "read", "secret": "mine"}, "secret"),
        ],
    )
    async def test_malformed(
        self, operator: httpx.AsyncClient, tenant: Tenant, body: dict[str, Any], field: str
    ) -> None:
        url = f"{TENANTS}/{tenant.slug}/keys"
        found = problem(await operator.post(url, json=body), 422)
        assert [one["field"] for one in found["errors"]] == [field]
        assert ok(await operator.get(url))["total"] == 0

    async def test_absent(
        self, operator: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant, new_key: NewKey
    ) -> None:
        """Another tenant's key like one that never was."""
        theirs = (await new_key(of=other_tenant)).split("_")[2]
        for key_id in (theirs, "0" * 12, "x", "%00", "a" * 500):
            for method, suffix in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
                url = f"{TENANTS}/{tenant.slug}/keys/{key_id}{suffix}"
                problem(await operator.request(method, url), 404, "does not exist")

    async def test_of_a_tenant_that_does_not_exist(self, operator: httpx.AsyncClient) -> None:
        url = f"{TENANTS}/{new_slug()}/keys"
        problem(await operator.post(url, json={"role": "read"}), 404)

    @pytest.mark.parametrize("overlap", [-1, 10**9, "1", 1.5])
    async def test_overlap_out_of_range(
        self, operator: httpx.AsyncClient, tenant: Tenant, overlap: Any
    ) -> None:
        url = f"{TENANTS}/{tenant.slug}/keys"
        made = ok(await operator.post(url, json={"role": "read"}), 201)
        body = {"overlap_seconds": overlap}
        problem(await operator.post(f"{url}/{made['id']}/rotate", json=body), 422)
        assert ok(await operator.get(url))["total"] == 1


class TestWorkspaces:
    """MLflow's workspaces are the tenants: a key's holder sees its own, an operator all."""

    URL = "/api/3.0/mlflow/workspaces"

    async def test_of_a_key(
        self, keys_app: FastAPI, new_key: NewKey, tenant: Tenant, other_tenant: Tenant
    ) -> None:
        async with bearer(keys_app, await new_key("read")) as client:
            assert ok(await client.get(self.URL)) == {"workspaces": [{"name": tenant.slug}]}
            assert ok(await client.get(f"{self.URL}/{tenant.slug}"))
            for name in (other_tenant.slug, new_slug()):
                answer = await client.get(f"{self.URL}/{name}")
                assert answer.status_code == 403
                assert answer.json()["error_code"] == "PERMISSION_DENIED"

    async def test_an_admin_describes_its_own(
        self, admin: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant
    ) -> None:
        body = {"description": "ours"}
        ok(await admin.patch(f"{self.URL}/{tenant.slug}", json=body))
        assert ok(await admin.get(f"{TENANTS}/{tenant.slug}"))["description"] == "ours"
        assert (await admin.patch(f"{self.URL}/{other_tenant.slug}", json=body)).status_code == 403
        assert (await admin.post(self.URL, json={"name": new_slug()})).status_code == 403
        assert (await admin.delete(f"{self.URL}/{tenant.slug}")).status_code == 403

    async def test_an_operator_makes_and_deletes(self, operator: httpx.AsyncClient) -> None:
        slug = new_slug()
        ok(await operator.post(self.URL, json={"name": slug}), 201)
        names = [one["name"] for one in ok(await operator.get(self.URL))["workspaces"]]
        assert slug in names
        assert (await operator.delete(f"{self.URL}/{slug}")).status_code == 204
