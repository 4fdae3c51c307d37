"""Authenticates callers and checks their role, tenant and request rate.

Both APIs call `Authenticator.authorize` for every request, before they read its body. A worker
caches what an Authorization header proved to be for a few seconds, so that nearly every request
costs one lookup in a dictionary; within that time a revoked key stops working in every worker.
"""

import asyncio
import hashlib
import hmac
import time
from typing import TYPE_CHECKING

from starlette.types import Scope

from app.auth.api_keys import ApiKeys
from app.auth.credentials import ApiKeyText, digest, public_part, secret_in
from app.config import Settings
from app.kernel.cache import TtlCache
from app.kernel.errors import (
    InvalidValueError,
    NotFoundError,
    PermissionDeniedError,
    TrackingError,
    UnauthenticatedError,
)
from app.kernel.principal import Principal, Role
from app.kernel.tenant import NO_TENANT, Tenant
from app.tenants.lookup import CACHE_SECONDS, TenantLookup
from app.tenants.quotas import Quotas
from app.tenants.resolution import tenant_named

if TYPE_CHECKING:
    from app.auth.jwt_verifier import JwtVerifier

# How many Authorization headers a worker caches.
MAX_CACHED = 10_000
# Concurrent lookups of keys, so that a flood of invalid keys cannot take all connections.
MAX_LOOKUPS = 3

ADMIN_KEY = "admin-key"
ANONYMOUS = "anonymous"


class Authenticator:
    """Authenticates requests by API key, JWT or admin key, or trusts them all (`auth=off`)."""

    def __init__(
        self,
        settings: Settings,
        tenants: TenantLookup,
        keys: ApiKeys,
        quotas: Quotas,
        tokens: "JwtVerifier | None",
    ) -> None:
        self._auth_off = settings.auth == "off"
        self._default_tenant = settings.implied_tenant
        admin_key = settings.admin_key
        self._admin_key = digest(admin_key.get_secret_value()) if admin_key else None
        self._tenants = tenants
        self._keys = keys
        self._quotas = quotas
        self._tokens = tokens
        # By the header's hash: the caller, or the error that the header is refused with.
        self._outcomes: TtlCache[bytes, Principal | TrackingError] = TtlCache(MAX_CACHED)
        self._lookups = asyncio.Semaphore(MAX_LOOKUPS)

    async def authorize(self, scope: Scope, role: Role, *, needs_tenant: bool = True) -> Principal:
        """The caller, if they may do what needs that role; also set as `scope["caller"]`.

        `needs_tenant` is False for requests that are not about one tenant's data. No tenant is
        created here. Raises UnauthenticatedError; PermissionDeniedError for a role that is too low
        and for another tenant's key; InvalidValueError for tenant names that differ; NotFoundError
        for a tenant that does not exist; RateLimitedError.
        """
        if self._auth_off:
            caller = await self._trusted(scope, needs_tenant)
        else:
            caller = await self._authenticated(scope)
        scope["caller"] = caller
        if caller.role < role:
            raise PermissionDeniedError(
                f"This needs the role '{role.word}'; {caller.name} has '{caller.role.word}'"
            )
        if caller.tenant is NO_TENANT and needs_tenant:
            raise PermissionDeniedError(
                "The admin key manages tenants and their keys; for a tenant's data, use a key of"
                " that tenant"
            )
        self._quotas.take_request(caller.tenant)
        return caller

    async def tenant_of_signed_url(self, slug: str) -> Tenant:
        """The tenant that a signed URL names, before its signature is checked.

        NO_TENANT if there is no such tenant: no URL was signed for it.
        """
        cached = self._tenants.cached(slug)
        if cached is not None or not slug:
            return cached or NO_TENANT
        async with self._lookups:
            try:
                return await self._tenants.resolve(slug)
            except NotFoundError:
                return NO_TENANT

    def forget(self, tenant: Tenant) -> None:
        """Remove the cached callers of a deleted tenant."""
        self._outcomes.discard_if(
            lambda outcome: isinstance(outcome, Principal) and outcome.tenant.id == tenant.id
        )

    async def _trusted(self, scope: Scope, needs_tenant: bool) -> Principal:
        """The caller where authentication is off: anyone may do anything."""
        if not needs_tenant:
            return Principal(NO_TENANT, Role.OPERATOR, ANONYMOUS)
        slug = tenant_named(scope) or self._default_tenant
        if not slug:
            raise InvalidValueError(
                "The request names no tenant: send X-Tenant-ID, or use /t/{tenant} before the path",
                field="tenant",
            )
        return Principal(await self._tenants.resolve(slug), Role.OPERATOR, ANONYMOUS)

    async def _authenticated(self, scope: Scope) -> Principal:
        authorization = _authorization(scope)
        # Cached by a hash, so that the process does not keep keys in memory longer than needed.
        header_hash = hashlib.sha256(authorization).digest()
        outcome = self._outcomes.get(header_hash)
        if outcome is None:
            outcome = await self._look_up(header_hash, authorization)
        if isinstance(outcome, TrackingError):
            raise type(outcome)(outcome.message)
        named = tenant_named(scope)
        tenant = outcome.tenant
        if named is not None and named != tenant.slug and tenant is not NO_TENANT:
            raise PermissionDeniedError(f"The key is not one of the tenant '{named}'")
        return outcome

    async def _look_up(self, header_hash: bytes, authorization: bytes) -> Principal | TrackingError:
        started = time.monotonic()
        try:
            caller, valid_seconds = await self._verify(secret_in(authorization))
        except (UnauthenticatedError, PermissionDeniedError) as error:
            self._outcomes.put(header_hash, error, CACHE_SECONDS)
            return error
        # Not a tenant with id 0, which its next request may create.
        if caller.tenant.id or caller.role is Role.OPERATOR:
            elapsed = time.monotonic() - started
            self._outcomes.put(header_hash, caller, min(CACHE_SECONDS, valid_seconds) - elapsed)
        return caller

    async def _verify(self, secret: str) -> tuple[Principal, float]:
        """The caller, and for how many more seconds the credentials are valid."""
        now = time.time()
        if self._admin_key and hmac.compare_digest(self._admin_key, digest(secret)):
            return Principal(NO_TENANT, Role.OPERATOR, ADMIN_KEY), CACHE_SECONDS
        if (key_text := ApiKeyText.parse(secret)) is not None:
            async with self._lookups:
                key = await self._keys.verify(key_text)
            self._tenants.store(key.tenant, key.limits)
            left = CACHE_SECONDS if key.expiry_time is None else key.expiry_time / 1000 - now
            return Principal(
                key.tenant, key.role, public_part(key_text.slug, key_text.key_id)
            ), left
        if self._tokens is not None and secret.count(".") == 2:
            claims = await self._tokens.verify(secret)
            tenant = await self._tenants.resolve(claims.slug)
            return Principal(tenant, claims.role, f"jwt:{claims.subject}"), claims.expiry - now
        raise UnauthenticatedError("The API key is not valid")


def _authorization(scope: Scope) -> bytes:
    authorization: bytes | None = None
    for header, value in scope["headers"]:
        if header == b"authorization":
            if authorization is not None:
                raise UnauthenticatedError("The request has more than one Authorization header")
            authorization = value
    if authorization is None:
        raise UnauthenticatedError(
            "An API key is needed: send it as 'Authorization: Bearer KEY', or as the password of"
            " Basic authentication (MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_PASSWORD)"
        )
    return authorization
