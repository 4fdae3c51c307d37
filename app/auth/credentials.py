"""API key format, and the secret in an Authorization header.

A key is `trk_{tenant}_{id}_{secret}`. All but the secret is public: it identifies the row, may be
logged, and shows whose key it is if one is found somewhere. The slug lets a key be looked up as its
tenant, under row-level security.

Only a SHA-256 of the key is stored. A slow password hash would add nothing: the secret is 256
random bits, which cannot be guessed.
"""

import base64
import binascii
import hashlib
import re
import secrets
from dataclasses import dataclass

from app.kernel.errors import UnauthenticatedError
from app.kernel.tenant import SLUG

# Longer than any key, and than the tokens of identity providers.
MAX_AUTHORIZATION = 8192

_KEY = re.compile(rf"(trk_({SLUG.pattern})_([0-9a-f]{{12}}))_[A-Za-z0-9_-]{{43}}")


@dataclass(frozen=True, slots=True)
class ApiKeyText:
    """A key as callers send it. `text` is secret."""

    text: str
    slug: str
    key_id: str

    @property
    def hash(self) -> bytes:
        """The SHA-256 that is stored, 32 bytes."""
        return digest(self.text)

    @classmethod
    def new(cls, slug: str) -> "ApiKeyText":
        """A random key for the tenant with that slug."""
        key_id = secrets.token_hex(6)
        return cls(f"{public_part(slug, key_id)}_{secrets.token_urlsafe(32)}", slug, key_id)

    @classmethod
    def parse(cls, text: str) -> "ApiKeyText | None":
        """The key in the text; None if it does not have a key's format."""
        match = _KEY.fullmatch(text)
        return cls(text, match[2], match[4]) if match else None


def public_part(slug: str, key_id: str) -> str:
    """The part of a key that may be shown: all but the secret."""
    return f"trk_{slug}_{key_id}"


def digest(text: str) -> bytes:
    """SHA-256, 32 bytes."""
    return hashlib.sha256(text.encode()).digest()


def secret_in(authorization: bytes) -> str:
    """The token of `Bearer`, or the password of `Basic` (RFC 6750, RFC 7617).

    Raises UnauthenticatedError for any other scheme, and for a malformed header.
    """
    if len(authorization) > MAX_AUTHORIZATION:
        raise UnauthenticatedError(
            f"The Authorization header may have at most {MAX_AUTHORIZATION} bytes"
        )
    scheme, _, credentials = authorization.strip().partition(b" ")
    try:
        match scheme.lower():
            case b"bearer":
                secret = credentials.strip().decode("ascii")
            case b"basic":
                pair = base64.b64decode(credentials.strip(), validate=True)
                secret = pair.partition(b":")[2].decode("ascii")
            case _:
                raise UnauthenticatedError("The Authorization header is neither Bearer nor Basic")
    except (UnicodeDecodeError, binascii.Error):
        raise UnauthenticatedError("The Authorization header is malformed") from None
    if not secret:
        raise UnauthenticatedError(
            "The Authorization header has no key: send it as the Bearer token, or as the password"
            " of Basic"
        )
    return secret
