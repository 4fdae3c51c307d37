"""Tenants as an operator sees them, for the command line: the owner role, one plain connection."""

from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from app.audit import trail
from app.kernel.errors import AlreadyExistsError, InvalidValueError
from app.kernel.slug import is_slug
from app.kernel.tenant import Tenant


@dataclass(frozen=True)
class TenantRow:
    id: int
    slug: str
    created_at: datetime


def list_tenants(owner_url: str) -> list[TenantRow]:
    """Every tenant, by slug."""
    with (
        psycopg.connect(owner_url) as connection,
        connection.cursor(row_factory=class_row(TenantRow)) as cursor,
    ):
        return cursor.execute("SELECT id, slug, created_at FROM tenants ORDER BY slug").fetchall()


def create_tenant(owner_url: str, slug: str) -> int:
    """Make a tenant with its `Default` experiment; returns its id.

    Raises InvalidValueError for a malformed slug, AlreadyExistsError for one that is taken.
    """
    if not is_slug(slug):
        raise InvalidValueError(
            f"'{slug}' is no tenant slug: 1 to 48 lower-case letters, digits and hyphens,"
            " with no hyphen first or last",
            field="slug",
        )
    try:
        with psycopg.connect(owner_url) as connection:
            row = connection.execute("SELECT create_tenant(%s)", [slug]).fetchone()
            assert row is not None
            created = Tenant(int(row[0]), slug)
            connection.execute(trail.INSERT, trail.row(created, "tenant.create", slug, {}))
    except psycopg.errors.UniqueViolation:
        raise AlreadyExistsError(f"tenant '{slug}' exists already", field="slug") from None
    return created.id
