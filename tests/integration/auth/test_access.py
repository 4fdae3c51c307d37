"""Authentication and authorization, and the errors of both APIs."""

import secrets
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from app.auth import authenticator
from app.auth.api_keys import LAST_USE_MS
from app.auth.credentials import ApiKeyText
from app.config import Settings
from app.kernel.clock import now_ms
from app.kernel.tenant import Tenant
from app.services import Services
from tests.conftest import ADMIN_KEY, new_slug
from tests.integration.conftest import NewKey, bearer, caller, guarded, until_refused

MLFLOW = "/api/2.0/mlflow/experiments/search?max_results=10"
PROXY = "/api/2.0/mlflow-artifacts/artifacts"
WORKBENCH = "/api/v1/experiments"
URLS = [MLFLOW, PROXY, WORKBENCH]

CODES = {400: "INVALID_PARAMETER_VALUE", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}


def refused(answer: httpx.Response, status: int, words: str = "") -> None:
    """The error in the shape of its API, and for a 401 the ways to authenticate."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    if answer.request.url.path.endswith(WORKBENCH):
        assert answer.headers["content-type"] == "application/problem+json"
        assert body["status"] == status
        message = body["detail"]
    else:
        assert body["error_code"] == CODES[status]
        message = body["message"]
    assert words in message
    challenge = answer.headers.get("www-authenticate", "")
    assert ("Bearer" in challenge and "Basic" in challenge) == (status == 401)


async def tenant_seen(client: httpx.AsyncClient, prefix: str = "", **headers: str) -> Any:
    answer = await client.get(f"{prefix}{WORKBENCH}", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["experiments"][0]["tags"]["matih.tenant_id"]


@pytest.mark.parametrize("url", URLS)
class TestCredentials:
    async def test_none(self, anyone: httpx.AsyncClient, tenant: Tenant, url: str) -> None:
        refused(await anyone.get(url), 401, "An API key is needed")
        refused(await anyone.get(f"/t/{tenant.slug}{url}"), 401)
        refused(await anyone.get(url, headers={"x-tenant-id": tenant.slug}), 401)

    async def test_as_bearer_and_as_password(
        self, keys_app: FastAPI, new_key: NewKey, url: str
    ) -> None:
        key = await new_key("read")
        async with caller(keys_app) as client:
            for auth in (("me", key), ("", key)):
                assert (await client.get(url, auth=auth)).status_code == 200
            headers = {"authorization": f"Bearer {key}"}
            assert (await client.get(url, headers=headers)).status_code == 200

    async def test_wrong_in_any_part(
        self, keys_app: FastAPI, new_key: NewKey, tenant: Tenant, other_tenant: Tenant, url: str
    ) -> None:
        key = await new_key()
        other = ApiKeyText.new(tenant.slug).text
        flipped = "A" if key[-1] != "A" else "B"
        nobody = new_slug()
        wrong = {
            "another secret": key[:-43] + other[-43:],
            "one character": key[:-1] + flipped,
            "another id": other[:-43] + key[-43:],
            "another tenant": key.replace(tenant.slug, other_tenant.slug),
            "no tenant": key.replace(tenant.slug, nobody),
            "nothing right": secrets.token_hex(32),
            "the admin key's start": ADMIN_KEY[:-1],
        }
        for what, text in wrong.items():
            async with bearer(keys_app, text) as client:
                for _ in range(2):  # looked up, then remembered
                    answer = await client.get(url)
                    refused(answer, 401, "The API key is not valid")
                    assert text not in answer.text, what

    @pytest.mark.parametrize(
        "header",
        ["Bearer", "Basic !!!", "Digest x", "x" * 9000, "Bearer " + "x" * 9000, "Bearer a.b.c"],
    )
    async def test_malformed(self, anyone: httpx.AsyncClient, url: str, header: str) -> None:
        refused(await anyone.get(url, headers={"authorization": header}), 401)

    async def test_two_headers(self, keys_app: FastAPI, new_key: NewKey, url: str) -> None:
        one = f"Bearer {await new_key()}"
        async with caller(keys_app) as client:
            headers = [("authorization", one), ("authorization", one)]
            refused(await client.get(url, headers=headers), 401, "more than one")

    async def test_before_the_body_is_read(self, anyone: httpx.AsyncClient, url: str) -> None:
        """Who is not let in cannot make the server read on."""
        sent = 0

        async def endless() -> Any:
            nonlocal sent
            for _ in range(100):
                sent += 1
                yield b"x" * 65536

        method = "PUT" if url == PROXY else "POST"
        target = f"{PROXY}/experiments/0/x" if url == PROXY else url
        answer = await anyone.request(
            method, target, content=endless(), headers={"content-type": "application/json"}
        )
        assert answer.status_code == 401
        assert sent <= 1

    async def test_the_admin_key_is_for_no_tenants_data(
        self, operator: httpx.AsyncClient, tenant: Tenant, url: str
    ) -> None:
        refused(await operator.get(url), 403, "use a key of that tenant")
        refused(await operator.get(f"/t/{tenant.slug}{url}"), 403)


class TestNames:
    """A key names its tenant; who names one besides must name the same."""

    async def test_agreeing(self, keys_app: FastAPI, new_key: NewKey, tenant: Tenant) -> None:
        slug = tenant.slug
        async with bearer(keys_app, await new_key("read")) as client:
            assert await tenant_seen(client) == slug
            assert await tenant_seen(client, f"/t/{slug}") == slug
            for header in ("x-tenant-id", "x-mlflow-workspace"):
                assert await tenant_seen(client, **{header: slug}) == slug
                assert await tenant_seen(client, f"/t/{slug}", **{header: slug}) == slug

    @pytest.mark.parametrize("url", URLS)
    async def test_another_tenant(
        self, keys_app: FastAPI, new_key: NewKey, other_tenant: Tenant, url: str
    ) -> None:
        """In the same words whether or not it exists."""
        async with bearer(keys_app, await new_key("admin")) as client:
            for slug in (other_tenant.slug, new_slug()):
                words = f"The key is not one of the tenant '{slug}'"
                refused(await client.get(f"/t/{slug}{url}"), 403, words)
                for header in ("x-tenant-id", "x-mlflow-workspace"):
                    refused(await client.get(url, headers={header: slug}), 403, words)

    @pytest.mark.parametrize("url", URLS)
    async def test_disagreeing_or_malformed(
        self, keys_app: FastAPI, new_key: NewKey, tenant: Tenant, url: str
    ) -> None:
        async with bearer(keys_app, await new_key()) as client:
            path = f"/t/{tenant.slug}{url}"
            words = "names different tenants"
            refused(await client.get(path, headers={"x-tenant-id": "b"}), 400, words)
            refused(await client.get(url, headers={"x-tenant-id": "A"}), 400, "Invalid tenant 'A'")

    async def test_the_default_tenant_is_nobodys(
        self, keys_app: FastAPI, new_key: NewKey, tenant: Tenant
    ) -> None:
        async with bearer(keys_app, await new_key("read")) as client:
            assert await tenant_seen(client) == tenant.slug != "default"


class TestLife:
    async def test_expiry(self, keys_app: FastAPI, new_key: NewKey) -> None:
        key = await new_key("read", expiry_time=now_ms() + 1500)
        async with bearer(keys_app, key) as client:
            assert (await client.get(WORKBENCH)).status_code == 200
            answer = await until_refused(client)
            refused(answer, 401, "The API key has expired")

    async def test_revoked_ones_stop_within_seconds(
        self,
        keys_app: FastAPI,
        keys_services: Services,
        new_key: NewKey,
        tenant: Tenant,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(authenticator, "CACHE_SECONDS", 0.3)
        key = await new_key("read")
        parsed = ApiKeyText.parse(key)
        assert parsed
        async with bearer(keys_app, key) as client:
            assert (await client.get(WORKBENCH)).status_code == 200
            await keys_services.keys.revoke(tenant, parsed.key_id)
            refused(await until_refused(client), 401, "The API key was revoked")

    async def test_last_use(
        self, keys_app: FastAPI, keys_services: Services, new_key: NewKey, tenant: Tenant
    ) -> None:
        key = await new_key("read")
        before = now_ms()
        async with bearer(keys_app, key) as client:
            for _ in range(3):
                assert (await client.get(WORKBENCH)).status_code == 200
        ((shown,), _) = await keys_services.keys.list(tenant)
        assert shown.last_used_time is not None
        assert before <= shown.last_used_time <= before + LAST_USE_MS

    async def test_only_a_hash_is_kept(
        self, settings: Settings, new_key: NewKey, tenant: Tenant
    ) -> None:
        key = await new_key()
        with psycopg.connect(settings.migration_database_url or "") as connection:
            connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(tenant.id)])
            row = connection.execute("SELECT k::text FROM api_keys k").fetchone()
        assert row is not None
        assert key[-43:] not in row[0]
        assert key[-43:].encode().hex() not in row[0]

    async def test_the_application_role_sees_the_keys_of_one_tenant_only(
        self, settings: Settings, new_key: NewKey, tenant: Tenant, other_tenant: Tenant
    ) -> None:
        await new_key()
        await new_key(of=other_tenant)
        with psycopg.connect(settings.database_url or "") as connection:
            assert connection.execute("SELECT count(*) FROM api_keys").fetchone() == (0,)
            connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(tenant.id)])
            found = connection.execute("SELECT DISTINCT tenant_id FROM api_keys").fetchall()
        assert found == [(tenant.id,)]


class TestTenantsThatDoNotExist:
    """With keys they are not made on the fly: a key needs one first."""

    async def test_no_tenant_is_made(self, settings: Settings, services: Services) -> None:
        async with guarded(settings) as app, bearer(app, ADMIN_KEY) as client:
            answer = await client.get(f"/api/v1/admin/tenants/{new_slug()}")
            assert answer.status_code == 404


class TestHostHeader:
    """Without authentication, a page whose name points here must not reach what is here."""

    @pytest.mark.parametrize(
        "host",
        ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.0.0.1", "[::1]:8000", "[::1]"],
    )
    async def test_names_of_this_machine(self, settings: Settings, host: str) -> None:
        async with guarded(settings, auth="off") as app, caller(app) as client:
            for url in URLS:
                answer = await client.get(f"/t/default{url}", headers={"host": host})
                assert answer.status_code == 200, answer.text

    @pytest.mark.parametrize(
        "host",
        [
            *("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", ""),
            *("[::2]:80", "localhost:8000:80", "10.0.0.1"),
        ],
    )
    async def test_any_other(self, settings: Settings, host: str) -> None:
        async with guarded(settings, auth="off") as app, caller(app) as client:
            for url in URLS:
                answer = await client.get(f"/t/default{url}", headers={"host": host})
                assert answer.status_code in (400, 422), answer.text
                assert "TRACKING_ALLOWED_HOSTS" in answer.text
            # The probes of load balancers, which tell nothing, may come by any name.
            assert (await client.get("/health", headers={"host": host})).status_code == 200

    async def test_as_set(self, settings: Settings) -> None:
        hosts = "a.example, b.example"
        async with guarded(settings, auth="off", allowed_hosts=hosts) as app, caller(app) as client:
            for host, allowed in (("b.example:80", True), ("c.example", False)):
                answer = await client.get(WORKBENCH, headers={"host": host})
                assert (answer.status_code == 200) == allowed

    @pytest.mark.parametrize("changes", [{"allow_unauthenticated": True}, {"allowed_hosts": "*"}])
    async def test_lifted(self, settings: Settings, changes: dict[str, Any]) -> None:
        async with guarded(settings, auth="off", **changes) as app, caller(app) as client:
            answer = await client.get(WORKBENCH, headers={"host": "tracking.example"})
            assert answer.status_code == 200

    async def test_with_keys_any_name_will_do(self, keys_app: FastAPI, new_key: NewKey) -> None:
        async with bearer(keys_app, await new_key()) as client:
            answer = await client.get(WORKBENCH, headers={"host": "tracking.example"})
            assert answer.status_code == 200
