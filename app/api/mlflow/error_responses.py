"""Errors in MLflow's shape: an error code, which its clients raise by, and a message."""

import logging

import msgspec
from starlette.responses import Response

from app.api.headers import error_headers
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


def endpoint_not_found(method: str, path: str) -> bytes:
    """The body of a 404 or a 405; `path` is without its leading slash."""
    return encode_error(
        "ENDPOINT_NOT_FOUND",
        f"{method} /{path} is not served here. This server keeps experiments, runs, metrics,"
        " logged models, registered models and artifacts; see /docs for its own API.",
    )


def internal_error(method: str, path: str) -> tuple[int, bytes]:
    """For an exception handler: logs the exception, and answers without its details."""
    log.exception("unexpected error in %s %s", method, path)
    return 500, encode_error("INTERNAL_ERROR", "Internal server error")


def encode_error(code: str, message: str) -> bytes:
    """The body of an error. Half surrogate pairs in the message become question marks."""
    printable = message.encode("utf-8", "replace").decode("utf-8")
    return msgspec.json.encode({"error_code": code, "message": printable})
