"""The URIs that a model version may be made from, as text: what they name, and which are refused.

MLflow servers were made to read their own disks, other tenants' files and other hosts by sources
such as `file:///…`, `…/../…`, `…/%2e%2e/…` and `http://…#/../…` (CVE-2023-1177, -2780, -6909,
CVE-2024-1483, -1558, -1560, GHSA-mr9f-g8qf-4w4j). This server opens no source at all; but clients
do, with their own credentials, so what would lead them astray is refused here.
"""

from dataclasses import dataclass
from urllib.parse import unquote

from app.kernel.errors import InvalidValueError
from app.kernel.uri_schemes import OF_A_DISK, OF_A_HOST, OF_A_PAGE, scheme
from app.registry.validation import LATEST


@dataclass(frozen=True, slots=True)
class ModelUri:
    """What a `models:/` URI names: a logged model, or one version of a registered one.

    Of a registered model the version, else the alias, else the latest of the stage, else of all.
    """

    model_id: str = ""
    name: str = ""
    version: str = ""
    alias: str = ""
    stage: str = ""


def model_uri(source: str) -> ModelUri | None:
    """What a `models:` URI names; None where it is malformed."""
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
    """What stands between `//` and the path."""
    rest = uri.partition(":")[2]
    return rest[2:].partition("/")[0] if rest.startswith("//") else ""


def segments(uri: str) -> list[str]:
    """The decoded segments of the path, without empty ones."""
    rest = uri.partition(":")[2]
    path = rest[2:].partition("/")[2] if rest.startswith("//") else rest
    return [_decoded(segment) for segment in path.split("/") if segment]


def is_within(source: str, root: str) -> bool:
    """Whether `source` is `root` or lies below it, both on no host but this server's."""
    above = segments(root)
    return (
        scheme(source) == scheme(root)
        and not host(source)
        and not host(root)
        and segments(source)[: len(above)] == above
    )


def check_reachable(source: str) -> None:
    """Refuse a local path, a URI of a host that is not storage, and one of no place.

    Raises InvalidValueError.
    """
    its_scheme = scheme(source)
    if its_scheme in OF_A_HOST or (its_scheme == "mlflow-artifacts" and host(source)):
        raise InvalidValueError(
            f"'source' cannot use the '{its_scheme}' scheme: the '{its_scheme}' scheme addresses"
            " a host other than this server's artifact storage",
            field="source",
        )
    if its_scheme in OF_A_PAGE:
        raise invalid(source, f"The '{its_scheme}' scheme addresses no storage.")
    if its_scheme in OF_A_DISK:
        raise invalid(
            source,
            "Local paths and file: URIs are refused; log the model to a run, and register it"
            " from there.",
        )


def check_path(source: str) -> None:
    """Refuse a path that is relative, or that can be read in two ways, decoded or not.

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
    """Decoded until nothing is left to decode: someone on the way may do it once more."""
    while (once := unquote(text)) != text:
        text = once
    return text
