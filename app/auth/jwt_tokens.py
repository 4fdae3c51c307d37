"""Tokens of an identity provider: JWTs signed with keys that it publishes (RFC 7519, RFC 7517)."""

import asyncio
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jwt
import urllib3
from anyio import to_thread

from app.kernel.errors import PermissionDeniedError, UnauthenticatedError, UnavailableError
from app.kernel.principal import KEY_ROLES, Role
from app.kernel.slug import is_slug

log = logging.getLogger(__name__)

# Signatures that only the provider can make. With HMAC, whoever can check can also sign; a server
# that let the token choose would take the public key for the secret.
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
MAX_SUBJECT = 200
LEEWAY = 10  # seconds that clocks may differ by

# The provider's keys are read again when they are this old, or when a token names one that is not
# among them, since that is how a new one shows; but not more often than the second number tells,
# whatever tokens are sent. Where the read failed that is worth to be tried again after the third
# number, for who waits for a key. Seconds, all three.
FRESH = 600.0
PATIENCE = 15.0
PAUSE = 1.0
_TIMEOUT = 5.0
# For all of a read: a document that comes byte by byte keeps to the timeout above.
_READ_SECONDS = 10.0
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Claims:
    """What a good token says. `expiry` is in epoch seconds."""

    subject: str
    slug: str
    role: Role
    expiry: float


class JwtSettings(Protocol):
    """What this module reads of the settings."""

    jwt_issuer: str | None
    jwt_audience: str | None
    jwt_tenant_claim: str
    jwt_role_claim: str


class JwtVerifier:
    """Recognises the tokens of one issuer that are meant for this service."""

    def __init__(self, settings: JwtSettings, keys: "JwksCache") -> None:
        self._settings = settings
        self._keys = keys

    async def verify(self, token: str) -> Claims:
        """Raises UnauthenticatedError for a token that is not good, PermissionDeniedError for a
        good one that has no tenant or no role, UnavailableError where no keys can be had."""
        try:
            key = await self._keys.find(jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                issuer=self._settings.jwt_issuer,
                audience=self._settings.jwt_audience,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise UnauthenticatedError(f"The token is not valid: {error}") from None
        return Claims(
            subject=_printable(claims["sub"][:MAX_SUBJECT]),
            slug=self._slug(claims),
            role=self._role(claims),
            expiry=float(claims["exp"]) + LEEWAY,
        )

    def _slug(self, claims: dict[str, Any]) -> str:
        slug = claims.get(self._settings.jwt_tenant_claim)
        if not isinstance(slug, str) or not is_slug(slug):
            raise PermissionDeniedError(
                f"The token names no tenant in its claim '{self._settings.jwt_tenant_claim}'"
            )
        return slug

    def _role(self, claims: dict[str, Any]) -> Role:
        """The highest one, where the claim is a list."""
        given = claims.get(self._settings.jwt_role_claim)
        words = given if isinstance(given, list) else [given]
        roles = [KEY_ROLES[word] for word in words if isinstance(word, str) and word in KEY_ROLES]
        if not roles:
            raise PermissionDeniedError(
                f"The token has none of the roles {', '.join(KEY_ROLES)} in its claim"
                f" '{self._settings.jwt_role_claim}'"
            )
        return max(roles)


def _printable(subject: str) -> str:
    """It goes into logs and into the audit log, whatever it holds."""
    return "".join(one if one.isprintable() else "?" for one in subject)


class JwksCache:
    """The public keys of the identity provider, from a URL or a file, kept for a while."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._read_at = -math.inf
        self._failed = False  # the last read
        self._reading: asyncio.Task[None] | None = None

    async def find(self, kid: str | None) -> jwt.PyJWK:
        """The key of that id, or the only one for a token that names none.

        Raises UnauthenticatedError where there is none, UnavailableError where there may be one and
        the provider's keys can't be read: until they once are, and for a new key while it is away.
        """
        found = self._get(kid)
        if self._due(known=found is not None):
            reading = self._read_anew()
            if found is None:  # who has a known key need not wait
                await asyncio.shield(reading)
                found = self._get(kid)
        if found is not None:
            return found
        if self._failed:
            raise UnavailableError("The identity provider's keys cannot be read; try again shortly")
        raise UnauthenticatedError("The token is signed with a key that is not the issuer's")

    def _due(self, *, known: bool) -> bool:
        age = time.monotonic() - self._read_at
        if known:
            return age > (PATIENCE if self._failed else FRESH)
        return age > (PAUSE if self._failed else PATIENCE)

    def _read_anew(self) -> asyncio.Task[None]:
        """The read that is under way, or a new one: it goes on though who asked for it leaves."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        return self._reading

    def _get(self, kid: str | None) -> jwt.PyJWK | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    async def _read(self) -> None:
        """Where it fails, the keys that are known are still good."""
        try:
            async with asyncio.timeout(_READ_SECONDS):
                self._keys = await to_thread.run_sync(
                    _read_keys, self._location, abandon_on_cancel=True
                )
            self._failed = False
        except Exception as error:  # whatever the provider sends; no request is at fault
            log.warning("the identity provider's keys cannot be read: %r", error)
            self._failed = True
        finally:
            self._read_at = time.monotonic()


def _read_keys(location: str) -> dict[str | None, jwt.PyJWK]:
    """The keys that only the provider can sign with, by their ids."""
    keys = jwt.PyJWKSet.from_json(_read_document(location)).keys
    usable = {one.key_id: one for one in keys if one.key_type != "oct"}
    if not usable:
        raise ValueError("there is none among them that only the provider could sign with")
    return usable


def _read_document(location: str) -> str:
    if not location.startswith(("https://", "http://")):
        return Path(location.removeprefix("file://")).read_text()
    with urllib3.PoolManager(retries=False, timeout=_TIMEOUT) as pool:
        answer = pool.request("GET", location, redirect=False, preload_content=False)
        try:
            if answer.status != 200:
                raise ValueError(f"the keys' URL answers {answer.status}")
            document = answer.read(_MAX_BYTES + 1)
        finally:
            answer.close()
    if len(document) > _MAX_BYTES:
        raise ValueError(f"the keys have more than {_MAX_BYTES} bytes")
    return document.decode()
