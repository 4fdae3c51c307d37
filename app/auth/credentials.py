"""What stands in an Authorization header, and what API keys look like.

A key is `trk_{tenant}_{id}_{secret}`. All but the secret is public: it names the row, may be
logged, and lets a key that turns up somewhere be told to its owner. With the tenant in it, a key is
looked up like all else, as that tenant and under row-level security.

Only a SHA-256 of the key is stored. A slow hash is for passwords, which can be guessed; the secret
is 256 random bits, of which no hash can be tried out.
"""

import base64
import binascii
import hashlib
import re
import secrets
from dataclasses import dataclass

from app.kernel.errors import UnauthenticatedError
from app.kernel.slug import SLUG

# Longer than any key, and than the tokens of identity providers.
MAX_AUTHORIZATION = 8192

_KEY = re.compile(rf"(trk_({SLUG.pattern})_([0-9a-f]{{12}}))_[A-Za-z0-9_-]{{43}}")


@dataclass(frozen=True, slots=True)
class ApiKeyText:
    """A key as it is sent; `text` is a secret."""

    text: str
    slug: str
    key_id: str

    @property
    def hash(self) -> bytes:
        return digest(self.text)

    @classmethod
    def new(cls, slug: str) -> "ApiKeyText":
        key_id = secrets.token_hex(6)
        return cls(f"{public_part(slug, key_id)}_{secrets.token_urlsafe(32)}", slug, key_id)

    @classmethod
    def parse(cls, text: str) -> "ApiKeyText | None":
        """None for what is no key of ours."""
        match = _KEY.fullmatch(text)
        return cls(text, match[2], match[4]) if match else None


def public_part(slug: str, key_id: str) -> str:
    """What of a key may be shown."""
    return f"trk_{slug}_{key_id}"


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def secret_in(authorization: bytes) -> str:
    """The token of `Bearer`, or the password of `Basic` (RFC 6750, RFC 7617).

    Raises UnauthenticatedError for any other scheme, and for what is malformed.
    """
    if len(authorization) > MAX_AUTHORIZATION:
        raise UnauthenticatedError(
            f"The Authorization header may have at most {MAX_AUTHORIZATION} bytes"
        )
    scheme, _, given = authorization.strip().partition(b" ")
    try:
        match scheme.lower():
            case b"bearer":
                secret = given.strip().decode("ascii")
            case b"basic":
                pair = base64.b64decode(given.strip(), validate=True)
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
