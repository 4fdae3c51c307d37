"""Request headers that both APIs read, and the headers of errors."""

import base64
import binascii
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Literal

from app.artifacts.stores.checksums import Digest
from app.kernel.errors import (
    InvalidValueError,
    RateLimitedError,
    TrackingError,
    UnauthenticatedError,
    UnavailableError,
)

# Enough for any size; int() refuses very long numbers.
_MAX_DIGITS = 18

_CHALLENGE = 'Bearer realm="tracking", Basic realm="tracking", charset="UTF-8"'
_RETRY_AFTER_SECONDS = "1"


def content_length(headers: Mapping[str, str]) -> int | None:
    """The declared length of the body in bytes; None for a missing or malformed header."""
    declared = headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and len(declared) <= _MAX_DIGITS:
        return int(declared)
    return None


def allow(methods: Collection[str]) -> str:
    """The header Allow of a path that is served for these methods. GET implies HEAD."""
    head = {"HEAD"} if "GET" in methods else set()
    return ", ".join(sorted({*methods, *head, "OPTIONS"}))


def error_headers(error: TrackingError) -> dict[str, str]:
    """WWW-Authenticate or Retry-After, for the errors that call for one (RFC 9110)."""
    match error:
        case UnauthenticatedError():
            return {"WWW-Authenticate": _CHALLENGE}
        case RateLimitedError():
            return {"Retry-After": str(error.retry_after)}
        case UnavailableError():
            return {"Retry-After": _RETRY_AFTER_SECONDS}
        case _:
            return {}


_MD5, _SHA256 = "Content-MD5", "x-amz-checksum-sha256"
# RFC 9530. The two differ for ranges of a body alone, which requests do not have.
_DIGESTS = ("Content-Digest", "Repr-Digest")
_ALGORITHMS: dict[str, tuple[Literal["sha256", "sha512"], int]] = {
    "sha-256": ("sha256", 32),
    "sha-512": ("sha512", 64),
}
_MEMBER = re.compile(r"[ \t]*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):[ \t]*")


def declared_digests(headers: Mapping[str, str]) -> list[Digest]:
    """The checksums that the client declares for the body, each in base64.

    Read are Content-MD5 (RFC 1864), Content-Digest and Repr-Digest (RFC 9530), and
    x-amz-checksum-sha256 (S3). Unknown algorithms are ignored, as RFC 9530 demands. Raises
    InvalidValueError, naming the header, for a malformed one.
    """
    digests = []
    if (given := headers.get(_MD5)) is not None:
        digests.append(Digest("md5", _decoded(given, 16, _MD5), _MD5))
    if (given := headers.get(_SHA256)) is not None:
        digests.append(Digest("sha256", _decoded(given, 32, _SHA256), _SHA256))
    for header in _DIGESTS:
        if (given := headers.get(header)) is not None:
            digests.extend(_members(given, header))
    return digests


def _members(value: str, header: str) -> Iterator[Digest]:
    for member in value.split(","):
        match = _MEMBER.fullmatch(member)
        if match is None:
            raise _malformed(header)
        if match[1] in _ALGORITHMS:
            algorithm, length = _ALGORITHMS[match[1]]
            yield Digest(algorithm, _decoded(match[2], length, header), header)


def _decoded(value: str, length: int, header: str) -> bytes:
    try:
        decoded = base64.b64decode(value.strip(), validate=True)
    except (ValueError, binascii.Error):
        raise _malformed(header) from None
    if len(decoded) != length:
        raise _malformed(header)
    return decoded


def _malformed(header: str) -> InvalidValueError:
    return InvalidValueError(f"The header {header} is not a checksum in base64", field=header)
