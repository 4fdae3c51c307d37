"""Headers that both APIs read, and those that go with an error."""

from collections.abc import Mapping

from app.errors import RateLimitedError, TrackingError, UnauthenticatedError, UnavailableError

# No size has more digits, and int() refuses very long numbers.
_MAX_DIGITS = 18

_CHALLENGE = 'Bearer realm="tracking", Basic realm="tracking", charset="UTF-8"'
_RETRY_AFTER_SECONDS = "1"


def content_length(headers: Mapping[str, str]) -> int | None:
    """The length of the body in bytes, where a well-formed one is declared."""
    declared = headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and len(declared) <= _MAX_DIGITS:
        return int(declared)
    return None


def error_headers(error: TrackingError) -> dict[str, str]:
    """How to authenticate, or when to try again, where the error is about that (RFC 9110)."""
    match error:
        case UnauthenticatedError():
            return {"WWW-Authenticate": _CHALLENGE}
        case RateLimitedError():
            return {"Retry-After": str(error.retry_after)}
        case UnavailableError():
            return {"Retry-After": _RETRY_AFTER_SECONDS}
        case _:
            return {}
