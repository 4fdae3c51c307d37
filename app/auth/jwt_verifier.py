"""Verifies the tokens of an identity provider: signed JWTs (RFC 7519)."""

from dataclasses import dataclass
from typing import Any, Protocol

import jwt

from app.auth.jwks_cache import JwksCache
from app.kernel.errors import PermissionDeniedError, UnauthenticatedError
from app.kernel.principal import KEY_ROLES, Role
from app.kernel.tenant import is_slug

# Asymmetric algorithms only. With HMAC, whoever can verify can also sign: a server that let the
# token choose would accept the public key as the secret.
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
MAX_SUBJECT = 200
LEEWAY = 10  # seconds that clocks may differ by


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a valid token. `expiry` is in epoch seconds, with the leeway included."""

    subject: str
    slug: str
    role: Role
    expiry: float


class JwtSettings(Protocol):
    """The settings that tokens are verified by."""

    jwt_issuer: str | None
    jwt_audience: str | None
    jwt_tenant_claim: str
    jwt_role_claim: str


class JwtVerifier:
    """Verifies tokens of one issuer for one audience."""

    def __init__(self, settings: JwtSettings, keys: JwksCache) -> None:
        self._settings = settings
        self._keys = keys

    async def verify(self, token: str) -> Claims:
        """The token's claims.

        Raises UnauthenticatedError for an invalid token, PermissionDeniedError for a valid one
        without a tenant or a role, UnavailableError if the provider's keys cannot be read.
        """
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
        """The role in the claim; the highest one if the claim is a list."""
        claim = claims.get(self._settings.jwt_role_claim)
        words = claim if isinstance(claim, list) else [claim]
        roles = [KEY_ROLES[word] for word in words if isinstance(word, str) and word in KEY_ROLES]
        if not roles:
            raise PermissionDeniedError(
                f"The token has none of the roles {', '.join(KEY_ROLES)} in its claim"
                f" '{self._settings.jwt_role_claim}'"
            )
        return max(roles)


def _printable(subject: str) -> str:
    """The subject for log lines and the audit log, without control characters."""
    return "".join(character if character.isprintable() else "?" for character in subject)
