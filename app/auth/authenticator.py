"""The one door: who is asking, as which tenant, and may they?

Both APIs let every request through here before they read its body. What a worker found out about
an Authorization header it trusts for a few seconds, so that nearly every request costs one lookup
in a dict; a key that is revoked stops working in every worker when they are over.
"""

import asyncio
import hashlib
import hmac
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.types import Scope

from app.auth.api_keys import ApiKeys
from app.auth.credentials import ApiKeyText, digest, public_part, secret_in
from app.config import Settings
from app.kernel.errors import (
    InvalidValueError,
    NotFoundError,
    PermissionDeniedError,
    TrackingError,
    UnauthenticatedError,
)
from app.kernel.principal import Principal, Role
from app.kernel.tenant import NOBODY, Tenant
from app.tenants.lookup import KNOWN_SECONDS, TenantLookup
from app.tenants.quotas import Quotas
from app.tenants.resolution import tenant_named

if TYPE_CHECKING:
    from app.auth.jwt_tokens import JwtVerifier

# How many credentials a worker remembers.
MAX_KNOWN = 10_000
# Lookups at a time: whoever sends made-up keys cannot take up all connections.
MAX_LOOKUPS = 3

ADMIN_KEY = "admin-key"
ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class _Known:
    """What an Authorization header was found to be: a caller's, or why it is refused."""

    caller: Principal | None
    refusal: TrackingError | None
    until: float


class Authenticator:
    """Lets callers in, as far as their role goes."""

    def __init__(
        self,
        settings: Settings,
        tenants: TenantLookup,
        keys: ApiKeys,
        quotas: Quotas,
        tokens: "JwtVerifier | None",
    ) -> None:
        self._open = settings.auth == "off"
        self._default = settings.implied_tenant
        admin_key = settings.admin_key
        self._admin_key = digest(admin_key.get_secret_value()) if admin_key else None
        self._tenants = tenants
        self._keys = keys
        self._quotas = quotas
        self._tokens = tokens
        self._known: dict[bytes, _Known] = {}
        self._lookups = asyncio.Semaphore(MAX_LOOKUPS)

    async def admit(self, scope: Scope, role: Role, *, outside: bool = False) -> Principal:
        """Who asks, once it is clear that they may; also left in the scope, as `caller`.

        `outside` is for what is about no tenant's data. Tenants are not created here.
        Raises UnauthenticatedError, PermissionDeniedError for a role too low or another's tenant,
        InvalidValueError for names that disagree, NotFoundError for a tenant that does not exist,
        RateLimitedError.
        """
        caller = await (self._trusted(scope, outside) if self._open else self._identified(scope))
        scope["caller"] = caller
        if caller.role < role:
            raise PermissionDeniedError(
                f"This needs the role '{role.word}'; {caller.name} has '{caller.role.word}'"
            )
        if caller.tenant is NOBODY and not outside:
            raise PermissionDeniedError(
                "The admin key manages tenants and their keys; for a tenant's data, use a key of"
                " that tenant"
            )
        self._quotas.take_request(caller.tenant)
        return caller

    async def holder_of_url(self, slug: str) -> Tenant:
        """The tenant that a signed URL names, of whose holder nothing is known before the
        signature is checked; nobody where there is no such tenant, since nothing was signed for
        nobody."""
        known = self._tenants.known(slug)
        if known is not None or not slug:
            return known or NOBODY
        async with self._lookups:
            try:
                return await self._tenants.resolve(slug)
            except NotFoundError:
                return NOBODY

    def forget(self, tenant: Tenant) -> None:
        """Look every caller of the tenant up again."""
        self._known = {
            name: known
            for name, known in self._known.items()
            if known.caller is None or known.caller.tenant.id != tenant.id
        }

    async def _trusted(self, scope: Scope, outside: bool) -> Principal:
        """Without authentication: whoever calls."""
        if outside:
            return Principal(NOBODY, Role.OPERATOR, ANONYMOUS)
        slug = tenant_named(scope) or self._default
        if not slug:
            raise InvalidValueError(
                "The request names no tenant: send X-Tenant-ID, or use /t/{tenant} before the path",
                field="tenant",
            )
        return Principal(await self._tenants.resolve(slug), Role.OPERATOR, ANONYMOUS)

    async def _identified(self, scope: Scope) -> Principal:
        authorization = _authorization(scope)
        # Not the header itself: a dump of this process's memory need not hold keys for long.
        name = hashlib.sha256(authorization).digest()
        known = self._known.get(name)
        if known is None or known.until < time.monotonic():
            known = await self._look_up(name, authorization)
        if known.caller is None:
            assert known.refusal is not None
            raise type(known.refusal)(known.refusal.message)
        named = tenant_named(scope)
        tenant = known.caller.tenant
        if named is not None and named != tenant.slug and tenant is not NOBODY:
            raise PermissionDeniedError(f"The key is not one of the tenant '{named}'")
        return known.caller

    async def _look_up(self, name: bytes, authorization: bytes) -> _Known:
        now = time.monotonic()
        try:
            caller, seconds = await self._identify(secret_in(authorization))
            known = _Known(caller, None, now + min(KNOWN_SECONDS, seconds))
        except (UnauthenticatedError, PermissionDeniedError) as error:
            known = _Known(None, error, now + KNOWN_SECONDS)
        if len(self._known) >= MAX_KNOWN:
            self._known = {key: one for key, one in self._known.items() if one.until > now}
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
        # A tenant that is yet to be created is nobody, and soon is not.
        if known.caller is None or known.caller.tenant.id or known.caller.role is Role.OPERATOR:
            self._known[name] = known
        return known

    async def _identify(self, secret: str) -> tuple[Principal, float]:
        """The caller, and for how many seconds the credentials are good."""
        now = time.time()
        if self._admin_key and hmac.compare_digest(self._admin_key, digest(secret)):
            return Principal(NOBODY, Role.OPERATOR, ADMIN_KEY), KNOWN_SECONDS
        if (given := ApiKeyText.parse(secret)) is not None:
            async with self._lookups:
                key = await self._keys.recognise(given)
            self._tenants.remember(key.tenant, key.limits)
            left = KNOWN_SECONDS if key.expiry_time is None else key.expiry_time / 1000 - now
            return Principal(key.tenant, key.role, public_part(given.slug, given.key_id)), left
        if self._tokens is not None and secret.count(".") == 2:
            claims = await self._tokens.verify(secret)
            tenant = await self._tenants.resolve(claims.slug)
            return Principal(tenant, claims.role, f"jwt:{claims.subject}"), claims.expiry - now
        raise UnauthenticatedError("The API key is not valid")


def _authorization(scope: Scope) -> bytes:
    given = [value for header, value in scope["headers"] if header == b"authorization"]
    if not given:
        raise UnauthenticatedError(
            "An API key is needed: send it as 'Authorization: Bearer KEY', or as the password of"
            " Basic authentication (MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_PASSWORD)"
        )
    if len(given) > 1:
        raise UnauthenticatedError("The request has more than one Authorization header")
    authorization: bytes = given[0]
    return authorization
