"""Reads a request's tenant from its path (`/t/{tenant}`) or its headers."""

from starlette.types import Scope

from app.kernel.errors import InvalidValueError, NotFoundError
from app.kernel.tenant import is_slug

_HEADERS = frozenset({b"x-tenant-id", b"x-mlflow-workspace"})

# How much of a malformed name an error message repeats.
_SHOWN_CHARACTERS = 100


def check_path(scope: Scope) -> None:
    """Raises NotFoundError if the path `/t/{name}` has a name that is no slug."""
    name: str | None = scope.get("tenant_in_path")
    if name is not None and not is_slug(name):
        raise NotFoundError(_malformed(name, "path /t/…"), field="tenant")


def tenant_named(scope: Scope) -> str | None:
    """The slug in the path `/t/{tenant}` or in the headers; None if there is none.

    Raises InvalidValueError for a malformed name, and for names that differ.
    """
    # `check_path` has validated the name in the path.
    found: str | None = scope.get("tenant_in_path")
    for header, value in scope["headers"]:
        if header in _HEADERS and value:
            name = value.decode("latin-1")
            if name == found:
                continue
            if not is_slug(name):
                raise InvalidValueError(_malformed(name, header.decode()), field="tenant")
            if found is not None:
                names = ", ".join(sorted((found, name)))
                raise InvalidValueError(
                    f"The request names different tenants: {names}", field="tenant"
                )
            found = name
    return found


def _malformed(name: str, source: str) -> str:
    shown = name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}…"
    return (
        f"Invalid tenant {shown!r} in {source}: a tenant is 1 to 48 lower-case letters, digits and"
        " hyphens, and neither starts nor ends with a hyphen"
    )
