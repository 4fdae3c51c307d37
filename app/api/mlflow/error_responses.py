"""Errors in MLflow's shape: an error code, which its clients raise by, and a message."""

import logging
from collections.abc import Collection

import msgspec
from starlette.responses import Response
from starlette.types import Scope

from app.api.headers import allow, error_headers
from app.kernel import errors

log = logging.getLogger(__name__)

STATUS = {
    errors.InvalidValueError: (400, "INVALID_PARAMETER_VALUE"),
    errors.NotFoundError: (404, "RESOURCE_DOES_NOT_EXIST"),
    errors.AlreadyExistsError: (400, "RESOURCE_ALREADY_EXISTS"),
    errors.ConflictError: (400, "INVALID_PARAMETER_VALUE"),
    errors.InvalidStateError: (400, "INVALID_PARAMETER_VALUE"),
    errors.NotEmptyError: (409, "INVALID_STATE"),
    errors.UnauthenticatedError: (401, "UNAUTHENTICATED"),
    errors.PermissionDeniedError: (403, "PERMISSION_DENIED"),
    errors.QuotaExceededError: (403, "PERMISSION_DENIED"),
    errors.RateLimitedError: (429, "RESOURCE_EXHAUSTED"),
    errors.TooLargeError: (413, "INVALID_PARAMETER_VALUE"),
    errors.StalledError: (408, "TEMPORARILY_UNAVAILABLE"),
    errors.UnsupportedError: (501, "NOT_IMPLEMENTED"),
    errors.UnavailableError: (503, "TEMPORARILY_UNAVAILABLE"),
    errors.InsufficientStorageError: (507, "RESOURCE_EXHAUSTED"),
}


def status_and_body(error: errors.TrackingError) -> tuple[int, bytes]:
    """The status and the body that MLflow's clients expect for an error of the domain."""
    status, code = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    return status, encode_error(code, error.message)


def error_response(error: errors.TrackingError) -> Response:
    """An error of the domain as a whole response, headers included."""
    status, body = status_and_body(error)
    return Response(body, status, error_headers(error), media_type="application/json")


def unknown_route(scope: Scope, allowed: Collection[str] = ()) -> tuple[int, bytes, dict[str, str]]:
    """The status, the body and the headers for a path that is served for other methods, `allowed`,
    or for none.

    404 for none, else 405; or, for OPTIONS, 204.
    """
    method, path = scope["method"], scope["path"]
    if not allowed:
        return 404, endpoint_not_found(method, path), {}
    headers = {"Allow": allow(allowed)}
    if method == "OPTIONS":
        return 204, b"", headers
    return 405, endpoint_not_found(method, path), headers


def unknown_route_response(scope: Scope, allowed: Collection[str]) -> Response:
    """`unknown_route` as a response."""
    status, body, headers = unknown_route(scope, allowed)
    return Response(body, status, headers, "application/json" if body else None)


def endpoint_not_found(method: str, path: str, more: str = "") -> bytes:
    """The body of a 404 or a 405; `more` is a sentence after the usual ones."""
    return encode_error(
        "ENDPOINT_NOT_FOUND",
        f"{method} {path} is not served here. This server keeps experiments, runs, metrics,"
        f" logged models, registered models and artifacts; see /docs for its own API.{more}",
    )


def internal_error(method: str, path: str) -> tuple[int, bytes]:
    """For an exception handler: logs the exception, and answers without its details."""
    log.exception("unexpected error in %s %s", method, path)
    return 500, encode_error("INTERNAL_ERROR", "Internal server error")


def encode_error(code: str, message: str) -> bytes:
    """The body of an error. Half surrogate pairs in the message become question marks."""
    printable = message.encode("utf-8", "replace").decode("utf-8")
    return msgspec.json.encode({"error_code": code, "message": printable})
