"""Errors as RFC 9457 problem details, and their schema in the OpenAPI document."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Scope

from app.api.headers import allow, error_headers
from app.kernel import errors

MEDIA_TYPE = "application/problem+json"
SCHEMAS = "#/components/schemas/"

# Errors repeat values and names of the request, up to so many characters, and so many errors.
_MAX_DETAIL = 2000
_MAX_FIELD = 300
_MAX_ERRORS = 20

# Parts of the location of a pydantic error that are no names of fields. The first two are the tags
# of the union in LogBatch.
POINTS, MAPPING = "[list]", "[mapping]"
_MARKERS = frozenset({POINTS, MAPPING, "[key]"})


class FieldError(BaseModel):
    """An error in one field of the request."""

    field: str = Field(
        description="The dotted path of a field of the body, or the name of a parameter."
    )
    message: str


class Problem(BaseModel):
    """An error, as problem details (RFC 9457)."""

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

    type: str = Field(description="The kind of problem, as a URN.")
    title: str = Field(
        description="The kind of problem in words; the same for all problems of the kind."
    )
    status: int
    detail: str = Field(description="What went wrong in this request.")
    instance: str = Field(description="The path of the request.")
    errors: list[FieldError] | None = Field(
        default=None, description="The fields at fault, at most the first 20; left out if none is."
    )


# How a key is sent. Each operation that needs one names both.
SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, the admin key, or a token of the identity provider.",
    },
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The same, as the password of any user name.",
    },
}

# Problem type, title and status of the domain's errors.
_PROBLEM_TYPES: dict[type[errors.TrackingError], tuple[str, str, int]] = {
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
_HTTP_PROBLEM_TYPES = {
    400: _MALFORMED,
    404: _PROBLEM_TYPES[errors.NotFoundError],
    405: ("method-not-allowed", "Method not allowed", 405),
    413: _PROBLEM_TYPES[errors.TooLargeError],
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
        problem_type = _INVALID_TENANT
    else:
        problem_type = next(
            _PROBLEM_TYPES[base] for base in type(error).__mro__ if base in _PROBLEM_TYPES
        )
    fields = [FieldError(field=_field(error.field), message=error.message)] if error.field else []
    return _respond(request, problem_type, error.message, fields, error_headers(error))


async def _tracking_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.TrackingError)
    return error_response(request, error)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(item["type"] == "json_invalid" for item in found):
        position, reason = found[0]["loc"][-1], found[0]["ctx"]["error"]
        return _respond(
            request, _MALFORMED, f"The body is not valid JSON: {reason} at character {position}"
        )
    fields = [
        FieldError(field=_dotted(item["loc"]), message=item["msg"]) for item in found[:_MAX_ERRORS]
    ]
    detail = "; ".join(f"{field.field}: {field.message}" for field in fields)
    if len(found) > len(fields):
        detail = f"{len(found)} fields are invalid, the first of them: {detail}"
    return _respond(request, _PROBLEM_TYPES[errors.InvalidValueError], detail, fields)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status, headers = error.status_code, error.headers
    if status == 405:  # FastAPI's own header has the methods of one route of several
        headers = {"Allow": allow(_served_methods(request))}
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
    phrase = HTTPStatus(status).phrase
    problem_type = _HTTP_PROBLEM_TYPES.get(status, (f"http-{status}", phrase, status))
    detail = error.detail
    if status in (404, 405) and detail == phrase:  # raised by the router
        detail = f"There is no {request.method} {request.url.path}; /docs lists the routes"
    return _respond(request, problem_type, detail, headers=headers)


def _served_methods(request: Request) -> list[str]:
    """The methods that the path of the request is served for."""
    scope = {key: request.scope[key] for key in ("type", "path", "headers")}
    scope["root_path"] = request.scope.get("app_root_path", request.scope["root_path"])
    return [
        method
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if any(_serves(route, scope | {"method": method}) for route in request.app.router.routes)
    ]


def _serves(route: BaseRoute, scope: Scope) -> bool:
    only_reads = isinstance(route, Mount)  # static files; a mount matches every method
    if only_reads and scope["method"] != "GET":
        return False
    return route.matches(scope)[0] is Match.FULL


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
    problem_type: tuple[str, str, int],
    detail: str,
    fields: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    name, title, status = problem_type
    problem = Problem(
        type=f"urn:tracking:{name}",
        title=title,
        status=status,
        detail=_printable(detail, _MAX_DETAIL),
        instance=quote(request.scope["path"]),
        errors=[
            FieldError(field=field.field, message=_printable(field.message, _MAX_DETAIL))
            for field in fields
        ]
        or None,
    )
    return Response(
        problem.model_dump_json(exclude_none=True), status, headers, media_type=MEDIA_TYPE
    )


def _dotted(location: Sequence[str | int]) -> str:
    """The path of a field, as the domain's errors have it: `metrics[0].value` for the location
    `("body", "metrics", 0, "value")`, `body` for the body as a whole."""
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}"
        for part in location[1:]
        if part not in _MARKERS
    )
    return _field(path.removeprefix(".") or str(location[0]))


def _field(name: str) -> str:
    return _printable(name, _MAX_FIELD)


def _printable(text: str, limit: int) -> str:
    """Cut to `limit` characters. Lone surrogates, which JSON may contain and UTF-8 cannot, become
    question marks."""
    shown = text if len(text) <= limit else f"{text[:limit]}…"
    return shown.encode("utf-8", "replace").decode()
