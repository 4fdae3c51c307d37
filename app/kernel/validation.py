"""Validation of names and values, with MLflow's limits and wording (mlflow.utils.validation, 3.17).

`field` is the value's place in the request, as a dotted path; it goes into the error.
"""

import json
import posixpath
import re
from collections.abc import Sized

from app.kernel.errors import InvalidValueError
from app.kernel.tenant import TENANT_TAG
from app.kernel.uri_schemes import OF_A_DISK, OF_A_HOST, OF_A_PAGE, OF_A_THING, scheme

MAX_KEY_LENGTH = 250
MAX_EXPERIMENT_NAME_LENGTH = 500
MAX_EXPERIMENT_TAG_VALUE_LENGTH = 20_000
MAX_NAME_LENGTH = 250
MAX_ARTIFACT_LOCATION_LENGTH = 2048
MAX_METRICS_PER_BATCH = 1000
MAX_PARAMS_PER_BATCH = 100
MAX_TAGS_PER_BATCH = 100
MAX_ENTITIES_PER_BATCH = 1000
MAX_BATCH_BYTES = 1_000_000
# Tags or params in a request that has no tighter limit.
MAX_PAIRS = 1_000

# How many metrics, params and tags a run may have; a model or experiment as many of its own. They
# are always read together. Runs with more, imported from another server, keep them.
MAX_METRICS = 20_000
MAX_PARAMS = 5_000
MAX_TAGS = 1_000

# How much of a value an error message repeats.
_SHOWN_CHARACTERS = 200

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

_KEY = re.compile(r"[/\w.\- :]*")
_PLAIN_KEY = re.compile(r"\w+")
# NUL, which Postgres cannot store, and lone surrogates, which UTF-8 cannot encode.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_LOCATION = re.compile(r"[^:/]+:/{1,3}[^/]")
_NO_LOCATION = OF_A_HOST | OF_A_DISK | OF_A_PAGE | OF_A_THING


def invalid(field: str, value: object, reason: str) -> InvalidValueError:
    """The error for a value that breaks a rule, in MLflow's words."""
    shown = json.dumps(value, separators=(",", ":"))
    if len(shown) > _SHOWN_CHARACTERS:
        shown = shown[:_SHOWN_CHARACTERS] + "…"
    return InvalidValueError(
        f"Invalid value {shown} for parameter '{field}' supplied: {reason}", field=field
    )


def missing(field: str) -> InvalidValueError:
    """The error for a missing value, in MLflow's words."""
    return InvalidValueError(
        f"Missing value for required parameter '{field}'."
        " See the API docs for more information about request parameters.",
        field=field,
    )


def key(value: str, field: str, *, called: str = "") -> None:
    """Validate a param, metric or tag key: MLflow's characters, and a normalized path.

    `called` is MLflow's name of the key in the error for one that is too long, if not `field`.
    """
    if not value:
        raise missing(field)
    if len(value) > MAX_KEY_LENGTH:
        raise InvalidValueError(_too_long(called or field, MAX_KEY_LENGTH), field=field)
    # Fast path: nearly all keys are one word.
    if _PLAIN_KEY.fullmatch(value) and value.isascii():
        return
    text(value, field)
    if not _KEY.fullmatch(value):
        raise invalid(
            field,
            value,
            "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.),"
            " spaces ( ), colon(:) and slashes (/).",
        )
    normal = posixpath.normpath(value)
    if normal != value or normal == "." or normal.startswith(("..", "/")):
        raise invalid(
            field,
            value,
            "Names may be treated as files in certain cases, and must not resolve to other names"
            f" when treated as such. This name would resolve to {normal!r}",
        )


def text(value: str, field: str, limit: int | None = None) -> None:
    """Validate a text: one that Postgres can store, of at most `limit` characters."""
    if limit is not None and len(value) > limit:
        raise too_long(field, limit)
    if _UNSTORABLE.search(value):
        raise unstorable(field)


def unstorable(field: str) -> InvalidValueError:
    """The error for a text that Postgres cannot store."""
    return InvalidValueError(
        f"Invalid value for parameter '{field}' supplied: it holds a NUL character or half of"
        " a surrogate pair, which cannot be stored",
        field=field,
    )


def too_long(field: str, limit: int) -> InvalidValueError:
    """The error for a text of more than `limit` characters."""
    return InvalidValueError(_too_long(field, limit), field=field)


def _too_long(name: str, limit: int) -> str:
    return f"'{name}' exceeds the maximum length of {limit} characters"


def deletable(name: str, field: str) -> None:
    """Raises InvalidValueError for the tag that is derived from the tenant."""
    if name == TENANT_TAG:
        raise InvalidValueError(
            f"The tag '{TENANT_TAG}' is derived from the tenant and cannot be deleted", field=field
        )


def at_most(count: int, limit: int, field: str) -> None:
    """Raises InvalidValueError if a request has more than `limit` of `field`."""
    if count > limit:
        raise InvalidValueError(
            f"A request may have at most {limit} {field}, got {count}", field=field
        )


def int64(value: int, field: str, minimum: int = INT64_MIN) -> None:
    """Validate an integer that is stored as 64 bits."""
    if not minimum <= value <= INT64_MAX:
        raise invalid(field, value, f"it must be an integer between {minimum} and {INT64_MAX}")


def batch(metrics: Sized, params: Sized, tags: Sized) -> None:
    """Validate the sizes of a log-batch request, with MLflow's limits."""
    sizes = (
        ("metrics", len(metrics), MAX_METRICS_PER_BATCH),
        ("params", len(params), MAX_PARAMS_PER_BATCH),
        ("tags", len(tags), MAX_TAGS_PER_BATCH),
        (
            "metrics, params, and tags",
            len(metrics) + len(params) + len(tags),
            MAX_ENTITIES_PER_BATCH,
        ),
    )
    for name, size, limit in sizes:
        if size > limit:
            raise InvalidValueError(
                f"A batch logging request can contain at most {limit} {name}. Got {size} {name}."
                f" Please split up {name} across multiple requests and try again.",
                field=name.partition(",")[0],
            )


def fits(owner: str, field: str, count: int, limit: int, *, unit: str = "") -> None:
    """Raises InvalidValueError if `owner` (as "The run") would have too many of `field`."""
    if count > limit:
        raise too_many(owner, field, limit, unit=unit)


def too_many(owner: str, field: str, limit: int, *, unit: str = "") -> InvalidValueError:
    """The error of `fits`."""
    return InvalidValueError(f"{owner} may have at most {limit} {unit}{field}", field=field)


def experiment_name(value: str, limit: int = MAX_EXPERIMENT_NAME_LENGTH) -> None:
    """Validate an experiment's name."""
    if not value:
        raise InvalidValueError(f"Invalid experiment name: '{value}'", field="name")
    text(value, "name", limit)


def artifact_location(value: str) -> None:
    """Validate an experiment's own artifact location: a cloud storage URI, stored verbatim.

    A local path is refused: it would be on this server's disk, and MLflow servers were exploited
    that way to read their own files. So are URIs of hosts other than storage, as for the sources
    of model versions, and anything with `..`, a query or a fragment.
    """
    field = "artifact_location"
    text(value, field, MAX_ARTIFACT_LOCATION_LENGTH)
    location_scheme = scheme(value)
    if location_scheme in _NO_LOCATION or not _LOCATION.match(value):
        raise invalid(
            field,
            value,
            "it must be a cloud storage URI such as s3://bucket/path; local paths, and URIs of"
            " other hosts such as http: and sftp: ones, are refused",
        )
    if location_scheme == "mlflow-artifacts":
        raise invalid(field, value, "leave it out to keep artifacts with this server")
    if set(value) & set("#?\\%") or ".." in value.split("/") or not value.isprintable():
        raise invalid(field, value, "it must not contain '..', '#', '?', '%' or '\\'")
