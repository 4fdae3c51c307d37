"""The ways in which a request names its tenant, besides its key."""

from starlette.types import Scope

from app.errors import InvalidValueError
from app.tenancy.slug import is_slug

_HEADERS = frozenset({b"x-tenant-id", b"x-mlflow-workspace"})


def tenant_named(scope: Scope) -> str | None:
    """The slug in the path `/t/{tenant}` or in the headers; None where there is none.

    Raises InvalidValueError for a malformed name and for names that disagree.
    """
    found: str | None = None
    in_path: str | None = scope.get("tenant_in_path")
    if in_path is not None:
        found = _checked(in_path, "path /t/…")
    for header, value in scope["headers"]:
        if header in _HEADERS and value:
            name = value.decode("latin-1")
            if name == found:
                continue
            _checked(name, header.decode())
            if found is not None:
                names = ", ".join(sorted((found, name)))
                raise InvalidValueError(
                    f"The request names different tenants: {names}", field="tenant"
                )
            found = name
    return found


def _checked(name: str, source: str) -> str:
    if not is_slug(name):
        raise InvalidValueError(
            f"Invalid tenant {name!r} in {source}: a tenant is 1 to 48 lower-case letters,"
            " digits and hyphens, and neither starts nor ends with a hyphen",
            field="tenant",
        )
    return name
