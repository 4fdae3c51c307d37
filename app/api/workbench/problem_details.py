"""Errors as RFC 9457 problem details, and their schema in the OpenAPI document."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from app.api.headers import error_headers
from app.kernel import errors

MEDIA_TYPE = "application/problem+json"
SCHEMAS = "#/components/schemas/"

# What the request held is repeated, but not megabytes of it.
_MAX_DETAIL = 2000
_MAX_FIELD = 300
# Of as many fields as a client may get wrong in one request.
_MAX_ERRORS = 20

# What pydantic puts into the location of an error beside the names of fields.
POINTS, MAPPING = "[list]", "[mapping]"
_MARKERS = frozenset({POINTS, MAPPING, "[key]"})


class FieldError(BaseModel):
    """What is wrong with one field of the request."""

    field: str = Field(description="A dotted path into the body, or the name of a parameter.")
    message: str


class Problem(BaseModel):
    """An error, as RFC 9457 has it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:tracking:not-found",
                    "title": "Not found",
                    "status": 404,
                    "detail": "Run with id=018f3f7e5a6c7b2d9e4f1a2b3c4d5e6f not found",
                    "instance": "/api/v1/experiments/runs/018f3f7e5a6c7b2d9e4f1a2b3c4d5e6f",
                    "errors": [
                        {
                            "field": "run_id",
                            "message": "Run with id=018f3f7e5a6c7b2d9e4f1a2b3c4d5e6f not found",
                        }
                    ],
                }
            ]
        }
    )

    type: str = Field(description="What kind of problem it is, as a URN to compare with.")
    title: str = Field(description="The kind in words, the same for every problem of the kind.")
    status: int
    detail: str = Field(description="What went wrong with this request.")
    instance: str = Field(description="The path of the request.")
    errors: list[FieldError] | None = Field(
        default=None, description="The fields at fault, where some are; the first 20."
    )


# How a key is sent; each guarded operation names both.
SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, the admin key, or a token of the identity provider.",
    },
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The same as the password; any user name.",
    },
}

# Kind, title and status of the domain's errors.
_KINDS: dict[type[errors.TrackingError], tuple[str, str, int]] = {
    errors.InvalidValueError: ("invalid-value", "Invalid value", 422),
    errors.NotFoundError: ("not-found", "Not found", 404),
    errors.AlreadyExistsError: ("already-exists", "Already exists", 409),
    errors.ConflictError: ("conflict", "Conflict", 409),
    errors.InvalidStateError: ("invalid-state", "Invalid lifecycle stage", 409),
    errors.NotEmptyError: ("not-empty", "Not empty", 409),
    errors.UnauthenticatedError: ("unauthenticated", "Not authenticated", 401),
    errors.PermissionDeniedError: ("permission-denied", "Permission denied", 403),
    errors.QuotaExceededError: ("quota-exceeded", "Quota exceeded", 403),
    errors.RateLimitedError: ("rate-limited", "Too many requests", 429),
    errors.TooLargeError: ("too-large", "Too large", 413),
    errors.StalledError: ("stalled", "Request body stalled", 408),
    errors.UnsupportedError: ("unsupported", "Not supported", 501),
    errors.UnavailableError: ("unavailable", "Temporarily unavailable", 503),
    errors.InsufficientStorageError: ("insufficient-storage", "Insufficient storage", 507),
}
_INVALID_TENANT = ("invalid-tenant", "Invalid tenant", 400)
_MALFORMED = ("malformed", "Malformed request", 400)
_HTTP = {
    400: _MALFORMED,
    404: _KINDS[errors.NotFoundError],
    405: ("method-not-allowed", "Method not allowed", 405),
    413: _KINDS[errors.TooLargeError],
    415: ("unsupported-media-type", "Unsupported media type", 415),
    416: ("range-not-satisfiable", "Range not satisfiable", 416),
}
_INTERNAL = ("internal-error", "Internal error", 500)


def with_problem_schema(document: dict[str, Any]) -> dict[str, Any]:
    """Add the schema of problems and the security schemes to an OpenAPI document, in place."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    if "Problem" not in schemas:
        schema = Problem.model_json_schema(ref_template=f"{SCHEMAS}{{model}}")
        schemas |= schema.pop("$defs") | {"Problem": schema}
        components["securitySchemes"] = SECURITY_SCHEMES
    return document


def error_response(request: Request, error: errors.TrackingError) -> Response:
    """An error of the domain as a problem, headers included."""
    if error.field == "tenant" and isinstance(error, errors.InvalidValueError):
        kind = _INVALID_TENANT
    else:
        kind = next(_KINDS[base] for base in type(error).__mro__ if base in _KINDS)
    fields = [FieldError(field=_field(error.field), message=error.message)] if error.field else []
    return _respond(request, kind, error.message, fields, error_headers(error))


async def _tracking_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.TrackingError)
    return error_response(request, error)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        position, reason = found[0]["loc"][-1], found[0]["ctx"]["error"]
        return _respond(
            request, _MALFORMED, f"The body is not valid JSON: {reason} at character {position}"
        )
    fields = [
        FieldError(field=_dotted(one["loc"]), message=one["msg"]) for one in found[:_MAX_ERRORS]
    ]
    detail = "; ".join(f"{one.field}: {one.message}" for one in fields)
    if len(found) > len(fields):
        detail = f"{len(found)} fields are invalid, the first of them: {detail}"
    return _respond(request, _KINDS[errors.InvalidValueError], detail, fields)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code
    phrase = HTTPStatus(status).phrase
    kind = _HTTP.get(status, (f"http-{status}", phrase, status))
    detail = error.detail
    if status in (404, 405) and detail == phrase:  # the router's own
        detail = f"There is no {request.method} {request.url.path}; /docs lists what there is"
    return _respond(request, kind, detail, headers=error.headers)


async def _unexpected_error(request: Request, error: Exception) -> Response:
    # Starlette raises the error again once this is sent; the request middleware logs it.
    return _respond(
        request, _INTERNAL, "The server failed to answer; the request was not the cause"
    )


EXCEPTION_HANDLERS: dict[
    int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]
] = {
    errors.TrackingError: _tracking_error,
    RequestValidationError: _validation_error,
    HTTPException: _http_error,
    Exception: _unexpected_error,
}


def _respond(
    request: Request,
    kind: tuple[str, str, int],
    detail: str,
    fields: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    name, title, status = kind
    problem = Problem(
        type=f"urn:tracking:{name}",
        title=title,
        status=status,
        detail=_printable(detail, _MAX_DETAIL),
        instance=quote(request.scope["path"]),
        errors=[
            FieldError(field=one.field, message=_printable(one.message, _MAX_DETAIL))
            for one in fields
        ]
        or None,
    )
    return Response(
        problem.model_dump_json(exclude_none=True), status, headers, media_type=MEDIA_TYPE
    )


def _dotted(location: Sequence[str | int]) -> str:
    """`("body", "metrics", 0, "value")` as `metrics[0].value`, as the services name it too; a body
    as a whole as `body`."""
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}"
        for part in location[1:]
        if part not in _MARKERS
    )
    return _field(path.removeprefix(".") or str(location[0]))


def _field(name: str) -> str:
    return _printable(name, _MAX_FIELD)


def _printable(text: str, limit: int) -> str:
    """Cut to a length that can be read, and without the half characters that JSON may smuggle in
    and UTF-8 cannot carry."""
    shown = text if len(text) <= limit else f"{text[:limit]}…"
    return shown.encode("utf-8", "replace").decode()
