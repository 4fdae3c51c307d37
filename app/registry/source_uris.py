"""Parses and validates the source URIs of model versions.

Sources such as `file:///…`, `…/../…`, `…/%2e%2e/…` and `http://…#/../…` made MLflow servers read
their own disks, other tenants' files and other hosts (CVE-2023-1177, -2780, -6909, CVE-2024-1483,
-1558, -1560, GHSA-mr9f-g8qf-4w4j). This server never opens a source. But clients do, with their own
credentials, so these URIs are refused here too.
"""

from dataclasses import dataclass
from urllib.parse import unquote

from app.kernel.errors import InvalidValueError
from app.kernel.uri_schemes import OF_A_DISK, OF_A_HOST, OF_A_PAGE, scheme
from app.registry.validation import LATEST


@dataclass(frozen=True, slots=True)
class ModelUri:
    """What a `models:/` URI names: a logged model by `model_id`, or one version of `name`.

    The version is the one with that number, else the one of the alias, else the newest in the
    stage, else the newest of all. Parts that the URI does not name are empty.
    """

    model_id: str = ""
    name: str = ""
    version: str = ""
    alias: str = ""
    stage: str = ""


def model_uri(source: str) -> ModelUri | None:
    """The parts of a `models:` URI; None if it is malformed."""
    path = source.partition(":")[2]
    name, slash, suffix = path.lstrip("/").partition("/")
    if not path.startswith("/") or not name.strip() or "/" in suffix:
        return None
    if slash:
        if not suffix.strip():
            return None
        if suffix.isdigit():
            return ModelUri(name=name, version=suffix)
        return ModelUri(name=name, stage="" if suffix.lower() == LATEST else suffix)
    if "@" in name:
        name, _, alias = name.rpartition("@")
        return ModelUri(name=name, alias=alias) if alias.strip() else None
    return ModelUri(model_id=name)


def host(uri: str) -> str:
    """The authority of a URI: what is between `//` and the path, or nothing."""
    rest = uri.partition(":")[2]
    return rest[2:].partition("/")[0] if rest.startswith("//") else ""


def segments(uri: str) -> list[str]:
    """The segments of the path, decoded, without empty ones."""
    rest = uri.partition(":")[2]
    path = rest[2:].partition("/")[2] if rest.startswith("//") else rest
    return [_decoded(segment) for segment in path.split("/") if segment]


def is_within(source: str, root: str) -> bool:
    """Whether `source` is `root` or below it, neither of them with a host."""
    root_segments = segments(root)
    return (
        scheme(source) == scheme(root)
        and not host(source)
        and not host(root)
        and segments(source)[: len(root_segments)] == root_segments
    )


def check_reachable(source: str) -> None:
    """Refuse local paths, and URIs of hosts that are not storage or of no location at all.

    Raises InvalidValueError.
    """
    source_scheme = scheme(source)
    if source_scheme in OF_A_HOST or (source_scheme == "mlflow-artifacts" and host(source)):
        raise InvalidValueError(
            f"'source' cannot use the '{source_scheme}' scheme: the '{source_scheme}' scheme"
            " addresses a host other than this server's artifact storage",
            field="source",
        )
    if source_scheme in OF_A_PAGE:
        raise invalid(source, f"The '{source_scheme}' scheme addresses no storage.")
    if source_scheme in OF_A_DISK:
        raise invalid(
            source,
            "Local paths and file: URIs are refused; log the model to a run, and register it"
            " from there.",
        )


def check_path(source: str) -> None:
    """Refuse a relative path, and one that has another meaning once it is decoded.

    Raises InvalidValueError.
    """
    decoded = _decoded(source)
    rest = decoded.partition(":")[2]
    path = "/" + rest[2:].partition("/")[2] if rest.startswith("//") else rest
    names = path.split("/")
    if (
        not path.startswith("/")
        or not path.strip("/")
        or ".." in names
        or "." in names
        or set(decoded) & set("#?\\")
        or not decoded.isprintable()
    ):
        raise invalid(
            source,
            "If supplying a source as an http, https, local file path, ftp, objectstore, or"
            " mlflow-artifacts uri, an absolute path must be provided without relative path"
            " references present. Please provide an absolute path.",
        )


def invalid(source: str, reason: str) -> InvalidValueError:
    return InvalidValueError(f"Invalid model version source: '{source}'. {reason}", field="source")


def _decoded(text: str) -> str:
    """The text decoded until nothing changes, since a proxy or a client may decode it again."""
    while (once := unquote(text)) != text:
        text = once
    return text
