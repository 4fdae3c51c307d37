"""What is refused on every route, whatever it would do: a path that no tenant can have, another
server's name, and changes that another site's page had a browser send."""

import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from hypothesis import HealthCheck, given
from hypothesis import settings as tried
from hypothesis import strategies as st

from app.api.mlflow import PREFIXES
from app.config import Settings
from app.kernel.tenant import Tenant, is_slug
from app.observability.request_middleware import UNMATCHED
from app.services import Services
from tests.conftest import client_of
from tests.contract.isolation.routes import Served, served
from tests.integration.conftest import bearer, caller, guarded

NAMES = [
    "x'-alert(1)-'",
    "A",
    "a_b",
    "-a",
    "a-",
    "a" * 49,
    "a" * 5000,
    "ü",
    "<script>",
    "..",
    "a b",
]
NAMES += ["\0", "a\n", "", "%2e", "a\r\nX-Injected: y", "acme-corp;x", "Acme"]
# Beyond the routes that there are: redirects, and what is not served.
BESIDE = ["", "/", "/docs/", "/health/", "/nowhere", "/api/v1/nowhere", "/api/v1/experiments/"]
OF_MLFLOW = [
    *(f"{prefix}/mlflow/no-such-thing" for prefix in PREFIXES),
    *("/graphql", "/gateway/x", "/get-artifact", "/v1/traces", "/api/2.0/nowhere"),
]
PROBES = {"/health", "/ready"}


def paths_of(app: FastAPI) -> list[tuple[str, str]]:
    """The method and a concrete path of every route."""
    return [(one.method, _concrete(one)) for one in served(app).values()]


def encoded(name: str) -> str:
    """As one segment of a path, which no client resolves."""
    return quote(name, safe="").replace(".", "%2E")


def _concrete(route: Served) -> str:
    return re.sub(r"{\w+}", "x", route.path)


def in_the_shape_of_its_api(answer: httpx.Response, path: str) -> dict[str, Any]:
    """The body of the error; `path` is without the tenant."""
    below = (*(f"{prefix}/" for prefix in PREFIXES), "/gateway/")
    told: dict[str, Any] = answer.json()
    if path.startswith(below) or path in ("/graphql", "/get-artifact", "/v1/traces"):
        assert answer.headers["content-type"] == "application/json", path
        assert set(told) == {"error_code", "message"}, path
    elif path != "/model-versions/get-artifact":
        assert answer.headers["content-type"] == "application/problem+json", path
        assert told["status"] == answer.status_code
    return told


@pytest.fixture(params=["off", "keys"])
def either(request: pytest.FixtureRequest) -> FastAPI:
    """The application that asks nobody who they are, and the one that does."""
    found: FastAPI = request.getfixturevalue({"off": "app", "keys": "keys_app"}[request.param])
    return found


@pytest_asyncio.fixture(scope="module")
async def keys_app(settings: Settings) -> AsyncIterator[FastAPI]:
    async with guarded(settings) as application:
        yield application


class TestTenantsInThePath:
    async def test_are_404_on_every_route(self, either: FastAPI) -> None:
        routes = paths_of(either) + [("GET", path) for path in BESIDE]
        routes += [(method, path) for path in OF_MLFLOW for method in ("GET", "POST")]
        routes += [("OPTIONS", "/api/v1/experiments"), ("TRACE", "/docs")]
        async with client_of(either, None) as client:
            for number, (method, path) in enumerate(routes):
                name = NAMES[number % len(NAMES)]
                url = f"/t/{encoded(name)}{path or '/'}"
                answer = await client.request(method, url)
                assert answer.status_code == 404, (method, url, answer.text)
                assert "location" not in answer.headers
                assert "www-authenticate" not in answer.headers
                assert "x-request-id" in answer.headers
                assert "default-src 'none'" in answer.headers["content-security-policy"]
                if method != "HEAD":
                    told = in_the_shape_of_its_api(answer, path or "/")
                    assert "Invalid tenant" in str(told)
                    assert len(answer.content) < 2000 or "detail" in told

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("path", ["/docs", "/api/v1/experiments", "/api/2.0/mlflow/x"])
    async def test_whatever_they_are(self, either: FastAPI, name: str, path: str) -> None:
        async with client_of(either, None) as client:
            for method in ("GET", "POST", "OPTIONS"):
                answer = await client.request(method, f"/t/{encoded(name)}{path}")
                assert answer.status_code == 404, answer.text
                assert "x-injected" not in answer.headers

    @tried(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(name=st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"])))
    async def test_of_any_text(self, app: FastAPI, name: str) -> None:
        async with client_of(app, None) as client:
            answer = await client.get(f"/t/{encoded(name)}/docs")
        assert answer.status_code == (200 if is_slug(name) else 404)
        if not is_slug(name):
            assert answer.headers["content-type"] == "application/problem+json"

    async def test_before_who_asks_and_before_the_body(self, keys_app: FastAPI) -> None:
        async with client_of(keys_app, None) as client:
            answer, sent = await _with_an_endless_body(client, "/t/A/api/v1/experiments")
        assert (answer.status_code, sent <= 1) == (404, True)

    async def test_are_counted_and_make_no_tenant(self, app: FastAPI, services: Services) -> None:
        counts = app.state.monitor.requests

        key = ("POST", UNMATCHED, 404, "")

        def counted() -> float:
            return counts.cells[key][0] if key in counts.cells else 0

        before = counted()
        async with client_of(app, None) as client:
            await client.post("/t/A/api/v1/experiments", json={"name": "x"})
        assert counted() == before + 1
        assert "A" not in [one.slug for one in await services.tenants.list()]


class TestWhatAnswersRepeat:
    async def test_the_page_of_the_api_is_the_same_for_all(
        self, app: FastAPI, client: httpx.AsyncClient
    ) -> None:
        plain = client_of(app, None)
        first = await plain.get("/docs")
        others = [
            await client.get("/docs"),
            await plain.get("/docs?url='-alert(1)-'"),
            await plain.get("/docs", headers={"X-Forwarded-Prefix": "/'-alert(1)-'"}),
            await plain.get("/docs", headers={"host": "tracking.example.org"}),
        ]
        for other in others:
            assert other.content == first.content
            policies = other.headers.get_list("content-security-policy")
            assert policies == first.headers.get_list("content-security-policy")
        assert "unsafe" not in policies[0].partition("style-src")[0]

    async def test_the_document_of_the_api_names_the_tenant_and_nothing_else(
        self, app: FastAPI, client: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        plain = (await client_of(app, None).get("/openapi.json")).json()
        for headers in ({}, {"host": "tracking.example.org"}, {"X-Forwarded-Host": "evil"}):
            own = (await client.get("/openapi.json?x='-alert(1)-'", headers=headers)).json()
            assert own.pop("servers") == [{"url": f"/t/{tenant.slug}"}, *plain["servers"]]
            assert own == {name: one for name, one in plain.items() if name != "servers"}

    async def test_redirects_lead_to_paths_of_this_server(
        self, keys_app: FastAPI, tenant: Tenant
    ) -> None:
        """Whatever name it was called by, and however the proxy before it is spoken to."""
        for prefix in ("", f"/t/{tenant.slug}"):
            for path, target in (
                ("/docs/", "/docs"),
                ("/docs///", "/docs"),
                ("/api/v1/experiments/", "/api/v1/experiments"),
                ("/health/?a=/%2f/b&c=é", "/health?a=/%2f/b&c=%C3%A9"),
            ):
                async with caller(keys_app) as client:
                    answer = await client.get(
                        prefix + path, headers={"host": "evil.example"}, follow_redirects=False
                    )
                assert answer.status_code == 307, (path, answer.text)
                assert answer.headers["location"] == prefix + target

    async def test_no_answer_is_a_page_but_the_two_of_this_server(self, app: FastAPI) -> None:
        allowed = {"application/json", "application/problem+json", "text/plain", "text/css"}
        allowed |= {"text/javascript", "image/png"}
        async with client_of(app, None) as client:
            for method, path in paths_of(app):
                answer = await client.request(method, f"/t/markup{path}?x=<script>")
                kind = answer.headers.get("content-type", "text/plain").partition(";")[0]
                assert kind in allowed or path in ("/", "/docs"), (method, path, kind)


EVIL = ["evil.example", "127.0.0.1.evil.example:8000", "", "10.0.0.1", "localhost:8000:80"]


class TestHosts:
    @pytest.mark.parametrize("prefix", ["", "/t/acme-corp"])
    async def test_of_others_are_refused_on_every_route(self, app: FastAPI, prefix: str) -> None:
        async with client_of(app, None) as client:
            for number, (method, path) in enumerate(
                [*paths_of(app), *(("GET", path) for path in BESIDE[1:] + OF_MLFLOW)]
            ):
                host = EVIL[number % len(EVIL)]
                answer = await client.request(method, prefix + path, headers={"host": host})
                if path in PROBES:
                    assert answer.status_code == 200
                    continue
                assert answer.status_code in (400, 422), (method, path, answer.text)
                if method != "HEAD":
                    told = in_the_shape_of_its_api(answer, path)
                    assert "TRACKING_ALLOWED_HOSTS" in str(told)

    async def test_with_keys_too_where_they_are_set(self, settings: Settings) -> None:
        hosts = {"allowed_hosts": "tracking.example.org"}
        async with guarded(settings, **hosts) as app, caller(app) as client:
            for path in ("/docs", "/version", "/api/v1/experiments", "/metrics"):
                for host, refused in (("evil.example", True), ("tracking.example.org:443", False)):
                    answer = await client.get(path, headers={"host": host})
                    assert (answer.status_code == 422) == refused, (path, host, answer.text)


# What a browser says of a page's request, whose own origin is http://test or, by a proxy that ends
# TLS, https://test.
FOREIGN: list[list[tuple[str, str]]] = [
    [("Origin", "https://evil.example")],
    [("Origin", "http://test.evil.example")],
    [("Origin", "http://eviltest")],
    [("Origin", "http://test:8080")],
    [("Origin", "http://test:80:80")],
    [("Origin", "chrome-extension://test")],
    [("Origin", "null")],
    [("Origin", "")],
    [("Origin", "http://")],
    [("Origin", "test")],
    [("Origin", "http://user@test")],
    [("Origin", "http://test/")],
    [("Origin", "http://test"), ("Origin", "https://evil.example")],
    [("Origin", "http://test, https://evil.example")],
    [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "same-origin")],
    [("Origin", "http://test"), ("Sec-Fetch-Site", "cross-site")],
    [("Origin", "http://test"), ("Sec-Fetch-Site", "same-site")],
    [("Sec-Fetch-Site", "cross-site")],
    [("Sec-Fetch-Site", "same-site")],
    [("Sec-Fetch-Site", "")],
    [("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")],
]
OWN: list[list[tuple[str, str]]] = [
    [],
    [("Origin", "http://test")],
    [("Origin", "https://test")],
    [("Origin", "HTTPS://TEST")],
    [("Origin", "http://test"), ("Sec-Fetch-Site", "same-origin")],
    [("Sec-Fetch-Site", "same-origin")],
    [("Sec-Fetch-Site", "none")],
]
WORDS = "web page of another site"


class TestOtherSitesPages:
    async def test_change_nothing_on_any_route(self, either: FastAPI) -> None:
        """In either application, and before it is looked at who asks."""
        changing = [one for one in paths_of(either) if one[0] not in ("GET", "HEAD", "OPTIONS")]
        assert len(changing) > 80
        async with client_of(either, None) as client:
            for number, (method, path) in enumerate(changing):
                for prefix in ("", "/t/acme-corp"):
                    headers = FOREIGN[number % len(FOREIGN)]
                    answer = await client.request(method, prefix + path, headers=headers)
                    assert answer.status_code == 403, (method, path, headers, answer.text)
                    assert WORDS in str(in_the_shape_of_its_api(answer, path))

    @pytest.mark.parametrize("headers", FOREIGN)
    @pytest.mark.parametrize("path", ["/api/v1/experiments", "/api/2.0/mlflow/experiments/create"])
    async def test_whatever_they_say(
        self, client: httpx.AsyncClient, path: str, headers: list[tuple[str, str]]
    ) -> None:
        answer = await client.post(path, json={"name": "planted"}, headers=headers)
        assert answer.status_code == 403, answer.text
        assert (await client.get("/api/v1/experiments")).json()["total"] == 1

    @pytest.mark.parametrize("headers", FOREIGN)
    async def test_may_ask(self, client: httpx.AsyncClient, headers: list[tuple[str, str]]) -> None:
        """They are not shown the answer: that is CORS."""
        for method in ("GET", "HEAD", "OPTIONS"):
            answer = await client.request(method, "/docs", headers=headers)
            assert answer.status_code == (204 if method == "OPTIONS" else 200)

    @pytest.mark.parametrize("headers", OWN)
    async def test_its_own_and_whoever_is_no_browser_may_change(
        self, client: httpx.AsyncClient, headers: list[tuple[str, str]]
    ) -> None:
        for number, host in enumerate(["test", "test:80", "test:443", "TEST"]):
            given = [*headers, ("Host", host)]
            body = {"name": f"own {number}"}
            answer = await client.post("/api/v1/experiments", json=body, headers=given)
            assert answer.status_code == 201, (host, answer.text)

    async def test_of_its_own_at_another_port(self, client: httpx.AsyncClient) -> None:
        for host, origin, status in (
            ("test:8000", "http://test:8000", 201),
            ("test:8000", "https://test:8000", 201),
            ("test:8000", "http://test:8001", 403),
            ("test:8000", "http://test", 403),
            ("[::1]:8000", "http://[::1]:8000", 201),
        ):
            answer = await client.post(
                "/api/v1/experiments",
                json={"name": f"{host} {origin}"},
                headers={"Host": host, "Origin": origin},
            )
            assert answer.status_code == status, (host, origin, answer.text)

    async def test_of_the_origins_that_are_let_in(self, settings: Settings) -> None:
        allowed = "https://workbench.example.org"
        changes = {"auth": "off", "allowed_hosts": "test", "cors_origins": f"{allowed}, http://b"}
        async with guarded(settings, **changes) as app, caller(app) as client:
            for number, (origin, site, status) in enumerate(
                [
                    (allowed, "cross-site", 201),
                    (allowed, "same-site", 201),
                    ("http://b", "cross-site", 201),
                    ("http://workbench.example.org", "cross-site", 403),
                    ("https://evil.example", "cross-site", 403),
                ]
            ):
                answer = await client.post(
                    "/t/let-in/api/v1/experiments",
                    json={"name": f"x{number}"},
                    headers={"Origin": origin, "Sec-Fetch-Site": site},
                )
                assert answer.status_code == status, (origin, answer.text)
                shown = answer.headers.get("access-control-allow-origin")
                assert shown == (origin if status == 201 else None)

    async def test_with_a_key_that_the_browser_adds(
        self, keys_app: FastAPI, tenant: Tenant
    ) -> None:
        """As it does for any page once a key was typed into its dialog."""
        _, key = await keys_app.state.services.keys.create(tenant, "write")
        evil = {"Origin": "https://evil.example"}
        async with caller(keys_app) as client:
            for headers, status in ((evil, 403), ({}, 201)):
                answer = await client.post(
                    "/api/v1/experiments", json={"name": "x"}, auth=("me", key), headers=headers
                )
                assert answer.status_code == status, answer.text
        async with bearer(keys_app, key) as client:
            assert (await client.get("/api/v1/experiments")).json()["total"] == 2

    async def test_before_the_body_is_read(self, client: httpx.AsyncClient) -> None:
        answer, sent = await _with_an_endless_body(
            client, "/api/v1/experiments", Origin="https://evil.example"
        )
        assert (answer.status_code, sent <= 1) == (403, True)


async def _with_an_endless_body(
    client: httpx.AsyncClient, path: str, **headers: str
) -> tuple[httpx.Response, int]:
    """The answer, and how many pieces of the body were asked for."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield b"x" * 65536

    given = {"content-type": "application/json", **headers}
    return await client.post(path, content=endless(), headers=given), sent
