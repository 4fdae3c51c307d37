"""What the OpenAPI page says besides what the routes say of themselves."""

from typing import Any

from app.api.workbench.problem_details import MEDIA_TYPE, SCHEMAS

DESCRIPTION = """
Experiments, runs, metrics and artifacts for the ML Workbench. The same data is served to MLflow's
clients, which use this server as their tracking URI.

**Tenants.** Every request is one tenant's: name it in the header `X-Tenant-ID`, or put
`/t/{tenant}` in front of the path. Another tenant's ids are answered like ids that never existed.

**Keys.** Where the service asks for them (`TRACKING_AUTH=keys`), a request carries an API key of
its tenant, as `Authorization: Bearer KEY` or as the password of Basic authentication. A key has
a role: `read`, `write`, or `admin`, which also manages the tenant's keys. A token (JWT) of the
identity provider that the service trusts does as well.

**Values.** Times are ISO 8601 in UTC; timestamps in requests are epoch milliseconds. A metric that
is no finite number is the string `"NaN"`, `"Infinity"` or `"-Infinity"`.

**Errors** are problem details (RFC 9457) of the media type `application/problem+json`, with the
fields that are at fault.
"""

TAGS = [
    {"name": "experiments", "description": "Named collections of runs."},
    {
        "name": "runs",
        "description": "One execution of training code each: its params, metrics, tags and state.",
    },
    {"name": "logging", "description": "Writing metrics, params and tags to a run."},
    {"name": "metrics", "description": "Histories of metrics, and runs side by side."},
    {"name": "artifacts", "description": "The files of a run."},
    {
        "name": "admin",
        "description": "Tenants and their quotas, for who has the admin key; the keys of a tenant,"
        " for its admins too.",
    },
]

SERVERS: list[dict[str, Any]] = [
    {"url": "/", "description": "The tenant is named by the header X-Tenant-ID."},
    {
        "url": "/t/{tenant}",
        "description": "The tenant is named by the path.",
        "variables": {"tenant": {"default": "default", "description": "The tenant's slug."}},
    },
]

# A key, in one of two ways.
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"basic": []}]

# Kind, title, an example of the detail, and the field at fault.
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
        "Role too low, another tenant's key, or a quota that is used up",
        "This needs the role 'write'; trk_acme-corp_1f0c63a9be52 has 'read'",
        None,
    ),
    429: (
        "rate-limited",
        "More than the tenant's quota for a second or a day",
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
        "Conflict with what is stored",
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
    """The error answers of a route: those given, and those that every route has."""
    return {status: _answer(status) for status in sorted({400, 401, 403, 422, 429, 503, *statuses})}


def _answer(status: int) -> dict[str, Any]:
    kind, title, detail, field = _PROBLEMS[status]
    example: dict[str, Any] = {
        "type": f"urn:tracking:{kind}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": "/api/v1/experiments/runs",
    }
    if field:
        example["errors"] = [{"field": field, "message": detail}]
    content = {"schema": {"$ref": f"{SCHEMAS}Problem"}, "example": example}
    return {"description": title, "content": {MEDIA_TYPE: content}}
