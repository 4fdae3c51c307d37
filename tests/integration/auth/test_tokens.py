"""Tokens of an identity provider: valid ones are accepted, forged ones refused."""

import asyncio
import base64
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from fastapi import FastAPI

from app.auth import jwks_cache, jwt_verifier
from app.config import Settings
from app.kernel.tenant import Tenant
from tests.conftest import new_slug
from tests.integration.conftest import bearer, caller, guarded, until_refused

ISSUER = "https://login.example.org/"
AUDIENCE = "tracking"
EXPERIMENTS = "/api/v1/experiments"

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
STRANGERS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
NEW = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwk(key: Any, kid: str, algorithm: str) -> dict[str, Any]:
    shown = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    return shown | {"kid": kid, "alg": algorithm, "use": "sig"}


KEYS = [jwk(RSA, "rsa", "RS256"), jwk(EC, "ec", "ES256"), jwk(ED, "ed", "EdDSA")]
SECRET = b"a secret that everybody can read in the set of keys"
SYMMETRIC = {"kty": "oct", "kid": "oct", "alg": "HS256", "k": base64.b64encode(SECRET).decode()}

Sign = Callable[..., str]


@pytest.fixture
def sign(tenant: Tenant) -> Sign:
    """A token as the provider makes it, but for what is changed; None leaves a claim out."""

    def make(
        key: Any = RSA, algorithm: str = "RS256", kid: str | None = "rsa", **changes: Any
    ) -> str:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "somebody",
            "exp": now + 600,
            "iat": now,
            "tenant": tenant.slug,
            "role": "write",
        } | changes
        given = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(given, key, algorithm, headers={"kid": kid} if kid else {})

    return make


@pytest.fixture(scope="module")
def jwks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "jwks.json"
    path.write_text(json.dumps({"keys": [*KEYS, SYMMETRIC]}))
    return path


def trusting(location: object, **changes: Any) -> dict[str, Any]:
    return {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks": str(location)} | changes


@pytest_asyncio.fixture(scope="module")
async def token_app(settings: Settings, jwks: Path) -> AsyncIterator[FastAPI]:
    async with guarded(settings, **trusting(jwks)) as app:
        yield app


async def answer_to(app: FastAPI, token: str, url: str = EXPERIMENTS) -> httpx.Response:
    async with bearer(app, token) as client:
        return await client.get(url)


class TestGood:
    @pytest.mark.parametrize(
        ("key", "algorithm", "kid"),
        [(RSA, "RS256", "rsa"), (EC, "ES256", "ec"), (ED, "EdDSA", "ed")],
    )
    async def test_lets_its_tenant_in(
        self, token_app: FastAPI, sign: Sign, tenant: Tenant, key: Any, algorithm: str, kid: str
    ) -> None:
        token = sign(key, algorithm, kid)
        answer = await answer_to(token_app, token)
        assert answer.status_code == 200, answer.text
        assert answer.json()["experiments"][0]["tags"]["matih.tenant_id"] == tenant.slug
        async with caller(token_app) as client:
            assert (await client.get(EXPERIMENTS, auth=("me", token))).status_code == 200

    async def test_with_an_audience_among_others(self, token_app: FastAPI, sign: Sign) -> None:
        answer = await answer_to(token_app, sign(aud=["another", AUDIENCE]))
        assert answer.status_code == 200

    @pytest.mark.parametrize(
        ("role", "writes"),
        [("read", False), ("write", True), ("admin", True), (["x", "write", "read"], True)],
    )
    async def test_with_its_role(
        self, token_app: FastAPI, sign: Sign, role: Any, writes: bool
    ) -> None:
        async with bearer(token_app, sign(role=role)) as client:
            answer = await client.post(EXPERIMENTS, json={"name": new_slug()})
        assert answer.status_code == (201 if writes else 403), answer.text

    async def test_for_another_tenant(
        self, token_app: FastAPI, sign: Sign, other_tenant: Tenant
    ) -> None:
        answer = await answer_to(token_app, sign(), f"/t/{other_tenant.slug}{EXPERIMENTS}")
        assert answer.status_code == 403

    async def test_whatever_its_subject_holds(
        self, token_app: FastAPI, sign: Sign, tenant: Tenant
    ) -> None:
        """The audit log tells of it, in characters that Postgres and a terminal can take."""
        token = sign(role="admin", sub="a\x00b\n\ud800\x1b[2J" + "x" * 1000)
        async with bearer(token_app, token) as client:
            url = f"/api/v1/admin/tenants/{tenant.slug}/keys"
            answer = await client.post(url, json={"role": "read"})
            assert answer.status_code == 201, answer.text
            events = (await client.get("/api/v1/audit")).json()["events"]
        assert "jwt:a?b???[2J" + "x" * 191 in [one["actor"] for one in events]

    async def test_api_keys_work_beside_it(self, token_app: FastAPI, tenant: Tenant) -> None:
        _, key = await token_app.state.services.keys.create(tenant, "read")
        assert (await answer_to(token_app, key)).status_code == 200


class TestRefused:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"exp": 1_000_000_000}, "expired"),
            ({"exp": None}, '"exp"'),
            ({"exp": "never"}, "exp"),
            ({"nbf": 4_000_000_000}, "not yet valid"),
            ({"iat": 4_000_000_000}, "not yet valid"),
            ({"aud": "another"}, "udience"),
            ({"aud": None}, '"aud"'),
            ({"aud": []}, "aud"),
            ({"iss": "https://evil.example.org/"}, "ssuer"),
            ({"iss": ISSUER.rstrip("/")}, "ssuer"),
            ({"iss": None}, '"iss"'),
            ({"sub": None}, '"sub"'),
        ],
    )
    async def test_for_what_it_says(
        self, token_app: FastAPI, sign: Sign, changes: dict[str, Any], words: str
    ) -> None:
        answer = await answer_to(token_app, sign(**changes))
        assert answer.status_code == 401, answer.text
        assert words in answer.json()["detail"]
        assert "Bearer" in answer.headers["www-authenticate"]

    @pytest.mark.parametrize("kid", ["rsa", "strangers", None])
    async def test_signed_by_a_stranger(
        self, token_app: FastAPI, sign: Sign, kid: str | None
    ) -> None:
        answer = await answer_to(token_app, sign(STRANGERS, kid=kid))
        assert answer.status_code == 401, answer.text

    @pytest.mark.parametrize("kid", ["rsa", "oct", None])
    async def test_not_signed(self, token_app: FastAPI, sign: Sign, kid: str | None) -> None:
        token = sign(None, "none", kid)
        assert (await answer_to(token_app, token)).status_code == 401
        header, payload, signature = sign().split(".")
        for forged in (f"{header}.{payload}.", f"{header}.{payload}.{signature[:-4]}AAAA"):
            assert (await answer_to(token_app, forged)).status_code == 401

    async def test_by_hmac_with_the_public_key(self, token_app: FastAPI, sign: Sign) -> None:
        """What a server falls for that lets the token choose the algorithm."""
        pem = RSA.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        _, payload, _ = sign().split(".")
        for kid in ("rsa", "ec"):
            header = _encoded({"alg": "HS256", "typ": "JWT", "kid": kid})
            for secret in (pem, pem.strip(), json.dumps(KEYS[0]).encode()):
                signature = jwt.get_algorithm_by_name("HS256").sign(
                    f"{header}.{payload}".encode(), secret
                )
                token = (
                    f"{header}.{payload}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
                )
                assert (await answer_to(token_app, token)).status_code == 401

    async def test_by_a_symmetric_key_in_the_set(self, token_app: FastAPI, sign: Sign) -> None:
        token = sign(SECRET, "HS256", "oct")
        assert (await answer_to(token_app, token)).status_code == 401

    async def test_with_a_key_of_its_own_in_the_header(
        self, token_app: FastAPI, sign: Sign
    ) -> None:
        """`jwk`, `jku` and `x5u` in a token's header are not to be followed."""
        _, payload, _ = sign().split(".")
        own = jwk(STRANGERS, "rsa", "RS256")
        for more in ({"jwk": own}, {"jku": "https://evil.example.org/"}, {"x5u": "https://e/"}):
            header = {"alg": "RS256", "kid": "rsa"} | more
            claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
            token = jwt.encode(claims, STRANGERS, "RS256", headers=header)
            assert (await answer_to(token_app, token)).status_code == 401

    @pytest.mark.parametrize("token", ["..", "a.b.c", "e30.e30.e30", "a..b", "é.é.é", "x" * 7000])
    async def test_no_token_at_all(self, token_app: FastAPI, token: str) -> None:
        async with caller(token_app) as client:
            headers = {"authorization": f"Bearer {token}".encode()}
            assert (await client.get(EXPERIMENTS, headers=headers)).status_code == 401

    @pytest.mark.parametrize("slug", [None, "", "A", 7, ["a"], {"a": 1}, "a" * 49])
    async def test_without_a_tenant(self, token_app: FastAPI, sign: Sign, slug: Any) -> None:
        answer = await answer_to(token_app, sign(tenant=slug))
        assert answer.status_code == 403
        assert "names no tenant in its claim 'tenant'" in answer.json()["detail"]

    @pytest.mark.parametrize("role", [None, "", "owner", "operator", "WRITE", 3, [], [["admin"]]])
    async def test_without_a_role(self, token_app: FastAPI, sign: Sign, role: Any) -> None:
        answer = await answer_to(token_app, sign(role=role))
        assert answer.status_code == 403
        assert "none of the roles read, write, admin" in answer.json()["detail"]

    async def test_for_a_tenant_that_does_not_exist(self, token_app: FastAPI, sign: Sign) -> None:
        assert (await answer_to(token_app, sign(tenant=new_slug()))).status_code == 404

    async def test_where_tokens_are_not_trusted(self, keys_app: FastAPI, sign: Sign) -> None:
        answer = await answer_to(keys_app, sign())
        assert answer.status_code == 401
        assert answer.json()["detail"] == "The API key is not valid"

    async def test_once_it_has_expired(
        self, token_app: FastAPI, sign: Sign, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(jwt_verifier, "LEEWAY", 0)
        token = sign(exp=int(time.time()) + 2)
        async with bearer(token_app, token) as client:
            assert (await client.get(EXPERIMENTS)).status_code == 200
            answer = await until_refused(client)
        assert answer.status_code == 401
        assert "expired" in answer.json()["detail"]


class TestTenantsOnTheFly:
    async def test_made_by_the_first_write(
        self, settings: Settings, jwks: Path, sign: Sign
    ) -> None:
        """And seen by the same caller at once."""
        changes = trusting(jwks, auto_create_tenants=True)
        async with guarded(settings, **changes) as app, bearer(app, sign(tenant=new_slug())) as it:
            assert (await it.get(EXPERIMENTS)).json()["total"] == 1  # experiment 0
            assert (await it.post(EXPERIMENTS, json={"name": "x"})).status_code == 201
            assert (await it.get(EXPERIMENTS)).json()["total"] == 2


def _encoded(value: Any) -> str:
    return _base64(json.dumps(value).encode())


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


NO_KEYS = [
    *(b"", b"[]", b"null", b"<html>", b"\xff", b"{}"),
    *(b'{"keys": []}', b'{"keys": {}}', b'{"keys": [1]}', b'{"keys": [{"kty": "RSA"}]}'),
    json.dumps({"keys": [SYMMETRIC]}).encode(),
]


class Provider:
    """An identity provider's HTTP server: its keys, and how often they were read."""

    def __init__(self) -> None:
        self.keys = list(KEYS)
        self.status = 200
        self.reads = 0
        self.url = ""
        self.answered = 0
        self.asked = threading.Event()
        self.answers = threading.Event()  # cleared: it keeps those who ask waiting
        self.answers.set()


@contextmanager
def serving(provider: Provider) -> Iterator[Provider]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            provider.reads += 1
            provider.asked.set()
            provider.answers.wait(4)
            provider.answered += 1
            body = json.dumps({"keys": provider.keys}).encode()
            self.send_response(provider.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    provider.url = f"http://127.0.0.1:{server.server_port}/jwks.json"
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving(Provider()) as it:
        yield it


class TestKeysByUrl:
    async def test_read_once(self, settings: Settings, provider: Provider, sign: Sign) -> None:
        async with guarded(settings, **trusting(provider.url)) as app:
            answers = await asyncio.gather(
                *(answer_to(app, sign(sub=f"s{number}")) for number in range(10))
            )
        assert {one.status_code for one in answers} == {200}
        assert provider.reads == 1

    async def test_a_new_one_is_found(
        self,
        settings: Settings,
        provider: Provider,
        sign: Sign,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        async with guarded(settings, **trusting(provider.url)) as app:
            assert (await answer_to(app, sign())).status_code == 200
            provider.keys = [jwk(NEW, "new", "RS256")]
            # Within moments of a read there is none, whoever asks how often.
            for number in range(5):
                answer = await answer_to(app, sign(NEW, kid="new", sub=f"s{number}"))
                assert answer.status_code == 401
            assert provider.reads == 1
            monkeypatch.setattr(jwks_cache, "RETRY_SECONDS", 0.0)
            assert (await answer_to(app, sign(NEW, kid="new"))).status_code == 200
            assert provider.reads == 2
            assert (await answer_to(app, sign(sub="late"))).status_code == 401

    async def test_where_it_does_not_answer(
        self, settings: Settings, sign: Sign, provider: Provider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(jwks_cache, "RETRY_SECONDS_UNKNOWN_KEY", 0.0)
        provider.status = 500
        async with guarded(settings, **trusting(provider.url)) as app:
            answer = await answer_to(app, sign())
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            provider.status = 200
            assert (await answer_to(app, sign())).status_code == 200
            # What is known is still good when it fails again.
            provider.status = 500
            monkeypatch.setattr(jwks_cache, "REFRESH_SECONDS", 0.0)
            assert (await answer_to(app, sign(sub="another"))).status_code == 200

    async def test_until_keys_are_known_nobody_is_told_that_a_token_is_bad(
        self, settings: Settings, sign: Sign, provider: Provider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nor is the provider asked by every request, however many come at once."""
        monkeypatch.setattr(jwks_cache, "RETRY_SECONDS_UNKNOWN_KEY", 3600.0)
        provider.status = 500
        async with guarded(settings, **trusting(provider.url)) as app:
            for start in (0, 10):
                for answer in await asyncio.gather(
                    *(answer_to(app, sign(sub=f"s{start + number}")) for number in range(10))
                ):
                    assert answer.status_code == 503, answer.text
                    assert answer.headers["retry-after"]
            assert provider.reads == 1
            for forged in ("a.b.c", sign() + "x."):
                assert (await answer_to(app, forged)).status_code == 401
            provider.status = 200
            monkeypatch.setattr(jwks_cache, "RETRY_SECONDS_UNKNOWN_KEY", 0.0)
            assert (await answer_to(app, sign())).status_code == 200

    async def test_a_new_one_while_it_does_not_answer(
        self, settings: Settings, sign: Sign, provider: Provider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its tokens may be good: nobody can tell before the keys are read."""
        async with guarded(settings, **trusting(provider.url)) as app:
            assert (await answer_to(app, sign())).status_code == 200
            monkeypatch.setattr(jwks_cache, "RETRY_SECONDS", 0.0)
            provider.status, provider.keys = 500, [*KEYS, jwk(NEW, "new", "RS256")]
            for number in range(3):
                answer = await answer_to(app, sign(NEW, kid="new", sub=f"s{number}"))
                assert answer.status_code == 503, answer.text
            assert (await answer_to(app, sign(sub="another"))).status_code == 200
            provider.status = 200
            monkeypatch.setattr(jwks_cache, "RETRY_SECONDS_UNKNOWN_KEY", 0.0)
            assert (await answer_to(app, sign(NEW, kid="new"))).status_code == 200
            assert (await answer_to(app, sign(STRANGERS, kid="strangers"))).status_code == 401

    async def test_a_known_key_does_not_wait_for_it(
        self, settings: Settings, sign: Sign, provider: Provider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with guarded(settings, **trusting(provider.url)) as app:
            assert (await answer_to(app, sign())).status_code == 200
            monkeypatch.setattr(jwks_cache, "REFRESH_SECONDS", 0.0)
            provider.answers.clear()
            assert (await answer_to(app, sign(sub="another"))).status_code == 200
            assert provider.answered == 1
            provider.answers.set()

    async def test_who_asked_first_and_left(
        self, settings: Settings, sign: Sign, provider: Provider
    ) -> None:
        """The others wait for the same read."""
        provider.answers.clear()
        async with guarded(settings, **trusting(provider.url)) as app:
            first = asyncio.create_task(answer_to(app, sign()))
            await asyncio.to_thread(provider.asked.wait, 10)
            second = asyncio.create_task(answer_to(app, sign(sub="another")))
            first.cancel()
            provider.answers.set()
            assert (await second).status_code == 200
        assert provider.reads == 1

    @pytest.mark.parametrize("document", NO_KEYS)
    async def test_what_holds_no_keys(
        self, settings: Settings, sign: Sign, tmp_path: Path, document: bytes
    ) -> None:
        place = tmp_path / "jwks.json"
        place.write_bytes(document)
        async with guarded(settings, **trusting(place)) as app:
            answer = await answer_to(app, sign())
            assert answer.status_code == 503, answer.text
            assert answer.headers["retry-after"]

    @pytest.mark.parametrize("status", [302, 404])
    async def test_no_other_place_is_asked(
        self, settings: Settings, sign: Sign, provider: Provider, status: int
    ) -> None:
        provider.status = status
        async with guarded(settings, **trusting(provider.url)) as app:
            assert (await answer_to(app, sign())).status_code == 503
        assert provider.reads == 1


class TestSettings:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"jwt_jwks": None}, "belong together"),
            ({"jwt_audience": ""}, "belong together"),
            ({"jwt_jwks": "http://login.example.org/jwks.json"}, "https"),
        ],
    )
    def test_refused(self, jwks: Path, changes: dict[str, Any], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            Settings(_env_file=None, auth="keys", **(trusting(jwks) | changes))
