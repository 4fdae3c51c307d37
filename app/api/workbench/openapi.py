"""The parts of the OpenAPI document that are not generated from routes."""

from typing import Any

from app.api.workbench.problem_details import MEDIA_TYPE, SCHEMAS

DESCRIPTION = """
Experiments, runs, metrics and artifacts for the ML Workbench. MLflow's clients read and write the
same data, with this server as their tracking URI.

**Tenants.** A request concerns one tenant. Name it in the header `X-Tenant-ID`, or put
`/t/{tenant}` in front of the path. Ids of another tenant are answered like ids that do not exist.

**Authentication.** If the server requires it (`TRACKING_AUTH=keys`), send an API key of the tenant
as `Authorization: Bearer KEY`, or as the password of Basic authentication. A key has one of the
roles `read`, `write` and `admin`; `admin` also manages the tenant's keys. Instead of a key, send a
token (JWT) of the identity provider that the server trusts.

**Values.** Answers have times as ISO 8601 in UTC; requests have timestamps in epoch milliseconds.
Metric values that are not finite are the strings `"NaN"`, `"Infinity"` and `"-Infinity"`.

**Errors** are problem details (RFC 9457) with the media type `application/problem+json`. They name
the fields at fault.
"""

TAGS = [
    {"name": "experiments", "description": "Named collections of runs."},
    {
        "name": "runs",
        "description": "Executions of training code, with their params, metrics, tags and status.",
    },
    {"name": "logging", "description": "Metrics, params and tags that are logged to a run."},
    {"name": "metrics", "description": "Metric histories, and the comparison of runs."},
    {"name": "artifacts", "description": "The files of a run."},
    {
        "name": "admin",
        "description": "Tenants and their quotas, for operators (the admin key); the keys and the"
        " audit log of a tenant, also for its admins.",
    },
]

SERVERS: list[dict[str, Any]] = [
    {"url": "/", "description": "The header X-Tenant-ID names the tenant."},
    {
        "url": "/t/{tenant}",
        "description": "The path names the tenant.",
        "variables": {"tenant": {"default": "default", "description": "The tenant's slug."}},
    },
]

# Alternatives: a key is sent in one of two ways.
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"basic": []}]

# By status: an example's problem type, title, detail and field at fault.
_PROBLEMS = {
    400: (
        "invalid-tenant",
        "Malformed request or tenant",
        "The request names different tenants: acme-corp, beta-corp",
        "tenant",
    ),
    401: (
        "unauthenticated",
        "Not authenticated",
        "The API key is not valid",
        None,
    ),
    403: (
        "permission-denied",
        "Role too low, another tenant's key, or quota used up",
        "This needs the role 'write'; trk_acme-corp_1f0c63a9be52 has 'read'",
        None,
    ),
    429: (
        "rate-limited",
        "Over the tenant's quota per second or per day",
        "The tenant 'acme-corp' may make 100 requests a second (quota requests_per_second)",
        None,
    ),
    404: (
        "not-found",
        "Not found",
        "Run with id=018f3f7e5a6c7b2d9e4f1a2b3c4d5e6f not found",
        "run_id",
    ),
    409: (
        "invalid-state",
        "Conflict with the stored state",
        "The run 018f3f7e5a6c7b2d9e4f1a2b3c4d5e6f must be in the 'active' state."
        " Current state is deleted.",
        "run_id",
    ),
    413: (
        "too-large",
        "Too large",
        "The body of this request may have at most 1000000 bytes",
        None,
    ),
    415: (
        "unsupported-media-type",
        "Unsupported media type",
        "The body is of type 'text/plain'; send JSON, with the header"
        " 'Content-Type: application/json'",
        None,
    ),
    416: (
        "range-not-satisfiable",
        "Range not satisfiable",
        "The file has 1024 bytes",
        None,
    ),
    422: (
        "invalid-value",
        "Invalid value",
        "limit: Input should be less than or equal to 1000",
        "limit",
    ),
    503: (
        "unavailable",
        "Temporarily unavailable",
        "The database is not available; try again shortly",
        None,
    ),
    507: (
        "insufficient-storage",
        "The artifact store has no room",
        "The artifact store has no room for 1000000 bytes",
        None,
    ),
}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses for errors: of the statuses given, and of those that any route has."""
    return {status: _answer(status) for status in sorted({400, 401, 403, 422, 429, 503, *statuses})}


def _answer(status: int) -> dict[str, Any]:
    problem_type, title, detail, field = _PROBLEMS[status]
    example: dict[str, Any] = {
        "type": f"urn:tracking:{problem_type}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": "/api/v1/experiments/runs",
    }
    if field:
        example["errors"] = [{"field": field, "message": detail}]
    content = {"schema": {"$ref": f"{SCHEMAS}Problem"}, "example": example}
    return {"description": title, "content": {MEDIA_TYPE: content}}
