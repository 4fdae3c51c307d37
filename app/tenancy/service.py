"""Which tenant a request is for, and whether there is one."""

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy.exc import IntegrityError

from app.config import Settings
from app.db.database import Database
from app.errors import InvalidValueError, NotFoundError
from app.tenancy import repository
from app.tenancy.slug import is_slug
from app.tenancy.tenant import Tenant

HEADERS = ("x-tenant-id", "x-mlflow-workspace")

# How long a worker trusts what it found: a tenant that another worker deleted is gone by then.
KNOWN_SECONDS = 5.0


class Tenants:
    """Turns the names in a request into a tenant."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._default = settings.default_tenant
        self._auto_create = settings.auto_create_tenants
        self._known: dict[str, tuple[Tenant, float]] = {}

    async def resolve(
        self, in_path: str | None, headers: Mapping[str, Any], *, write: bool
    ) -> Tenant:
        """The tenant that the path `/t/{tenant}` or the headers name, or the default one.

        `write` tells whether an unknown one springs into being; a read then sees nobody's data.
        Raises InvalidValueError for a malformed name and for names that disagree, NotFoundError
        for an unknown tenant where tenants are not made on the fly.
        """
        slug = self._named(in_path, headers)
        known, until = self._known.get(slug, (None, 0.0))
        if known is not None and time.monotonic() < until:
            return known
        async with self._database.directory() as connection:
            tenant_id = await repository.find(connection, slug)
        if tenant_id is None:
            self.forget(slug)
            if not self._auto_create:
                raise NotFoundError(f"Tenant '{slug}' does not exist", field="tenant")
            if not write:
                return Tenant(0, slug)
            tenant_id = await self._create(slug)
        tenant = Tenant(tenant_id, slug)
        self._known[slug] = (tenant, time.monotonic() + KNOWN_SECONDS)
        return tenant

    def forget(self, slug: str) -> None:
        """Look the tenant up again when it is next named."""
        self._known.pop(slug, None)

    def _named(self, in_path: str | None, headers: Mapping[str, Any]) -> str:
        names = {header: value for header in HEADERS if (value := headers.get(header))}
        if in_path is not None:
            names["path /t/…"] = in_path
        for source, name in names.items():
            if not is_slug(name):
                raise InvalidValueError(
                    f"Invalid tenant {name!r} in {source}: a tenant is 1 to 48 lower-case letters,"
                    " digits and hyphens, and neither starts nor ends with a hyphen",
                    field="tenant",
                )
        distinct = sorted(set(names.values()))
        if len(distinct) > 1:
            raise InvalidValueError(
                f"The request names different tenants: {', '.join(distinct)}", field="tenant"
            )
        slug = distinct[0] if distinct else self._default
        if not slug:
            raise InvalidValueError(
                "The request names no tenant: send X-Tenant-ID, or use /t/{tenant} before the path",
                field="tenant",
            )
        return slug

    async def _create(self, slug: str) -> int:
        try:
            async with self._database.directory() as connection:
                return await repository.create(connection, slug)
        except IntegrityError:
            # Another request made it first.
            async with self._database.directory() as connection:
                found = await repository.find(connection, slug)
                assert found is not None
                return found
