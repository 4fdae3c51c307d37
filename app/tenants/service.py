"""Tenant service: lists, creates, describes and deletes tenants, which MLflow calls workspaces.

Error messages follow MLflow's wording, which its client and its users see.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from sqlalchemy.exc import IntegrityError

from app.audit import trail
from app.db.database import Database
from app.kernel import validation
from app.kernel.errors import (
    AlreadyExistsError,
    InvalidValueError,
    NotEmptyError,
    UnavailableError,
    WorkspaceNotFoundError,
)
from app.kernel.tenant import Tenant, is_slug
from app.tenants import repository
from app.tenants.entities import TenantDetails
from app.tenants.lookup import TenantLookup

log = logging.getLogger(__name__)

MAX_DESCRIPTION_LENGTH = 1000

DeletionMode = Literal["SET_DEFAULT", "CASCADE", "RESTRICT"]


class TenantFiles(Protocol):
    """The stored files of a tenant, as far as deleting a tenant concerns them."""

    async def delete_all(self, tenant: Tenant) -> None:
        """Delete every file of the tenant; does nothing if it has none."""

    async def abandon_uploads(self, tenant: Tenant) -> None:
        """Abort the tenant's unfinished uploads. Raises UnavailableError if the store fails."""


class Tenants:
    """The tenants of the service.

    The default tenant is always listed, even before it is created: requests that name no tenant
    are in it. `on_delete` callbacks remove a deleted tenant from this worker's caches. Entries in
    other workers' caches are harmless: they hold the deleted tenant's id, which is not reused.
    """

    def __init__(
        self,
        database: Database,
        tenants: TenantLookup,
        files: TenantFiles,
        default_tenant: str,
        *,
        on_delete: Sequence[Callable[[Tenant], None]] = (),
    ) -> None:
        self._database = database
        self._tenants = tenants
        self._files = files
        self._default = default_tenant
        self._on_delete = on_delete

    async def list(self) -> list[TenantDetails]:
        """All tenants, in the order of their slugs."""
        async with self._database.without_tenant() as connection:
            found = {row.slug: row for row in await repository.list_details(connection)}
        if self._default:
            found.setdefault(self._default, TenantDetails(0, self._default, None))
        return [found[slug] for slug in sorted(found)]

    async def page(self, *, limit: int, offset: int) -> tuple[Sequence[TenantDetails], int]:
        """A page of the tenants that exist, in the order of their slugs, and their number."""
        async with self._database.without_tenant() as connection:
            page = await repository.list_details(connection, limit=limit, offset=offset)
            return page, await repository.count(connection)

    async def get(self, slug: str, *, of: Tenant | None = None) -> TenantDetails:
        """The tenant with that slug. Raises WorkspaceNotFoundError if there is none.

        `of` is the tenant of a caller who may see only that one: a slug that another tenant has
        now is then not found either.
        """
        async with self._database.without_tenant() as connection:
            found = await repository.list_details(connection, _validated(slug), tenant=of)
        if found:
            return found[0]
        if slug == self._default and of is None:
            return TenantDetails(0, slug, None)
        raise WorkspaceNotFoundError(slug)

    async def create(self, slug: str, description: str | None) -> TenantDetails:
        """Create a tenant with its experiment 0.

        Raises AlreadyExistsError for a slug that is taken, InvalidValueError for one that is
        malformed or the default tenant's.
        """
        _validated(slug)
        _validate_description(description)
        if slug == self._default:
            raise InvalidValueError(
                f"The '{slug}' workspace is reserved and cannot be created", field="name"
            )
        try:
            async with self._database.without_tenant() as connection:
                tenant = Tenant(await repository.create(connection, slug), slug)
                if description is not None:
                    await repository.describe(connection, slug, description)
                await trail.record(connection, tenant, "tenant.create", slug)
        except IntegrityError as error:
            raise AlreadyExistsError(f"Workspace '{slug}' already exists.", field="name") from error
        return TenantDetails(tenant.id, slug, description)

    async def describe(
        self, slug: str, description: str, *, of: Tenant | None = None
    ) -> TenantDetails:
        """Set a tenant's description. Raises WorkspaceNotFoundError as `get` does."""
        await self.get(slug, of=of)
        _validate_description(description)
        if slug == self._default:
            await self._tenants.refresh(slug, create=True)
        tenant = of or await self._tenant(slug)
        async with self._database.write(tenant) as connection:
            described = await repository.describe(connection, slug, description)
            # The row is locked now, so that the slug cannot become another tenant's.
            if not described or not await repository.list_details(connection, slug, tenant=tenant):
                raise WorkspaceNotFoundError(slug)
            await trail.record(connection, tenant, "tenant.describe", slug)
        return TenantDetails(tenant.id, slug, description)

    async def delete(self, slug: str, mode: DeletionMode) -> None:
        """Delete a tenant: RESTRICT only one without data, CASCADE one with all its data.

        Raises NotEmptyError from RESTRICT for a tenant with data, WorkspaceNotFoundError for an
        unknown slug, InvalidValueError for the default tenant and for SET_DEFAULT: a tenant's data
        is never moved to another tenant.
        """
        _validated(slug)
        if slug == self._default:
            raise InvalidValueError(
                f"The '{slug}' workspace is reserved and cannot be deleted", field="name"
            )
        if mode == "SET_DEFAULT":
            raise InvalidValueError(
                "Deletion mode 'SET_DEFAULT' is not supported: a workspace is a tenant, and its"
                " resources are not handed to another one. Use RESTRICT or CASCADE.",
                field="mode",
            )
        tenant = await self._tenant(slug)
        if mode == "CASCADE":
            await self._files.delete_all(tenant)
        async with self._database.write(tenant) as connection:
            obstacle = await repository.delete(connection, slug, cascade=mode == "CASCADE")
            if obstacle is None:
                await trail.record(connection, tenant, "tenant.delete", slug, mode=mode)
        if obstacle is None or obstacle == "absent":
            for callback in self._on_delete:
                callback(tenant)
        if obstacle is None:
            await self._abandon_uploads(tenant)
        if obstacle == "absent":
            raise WorkspaceNotFoundError(slug)
        if obstacle is not None:
            table, _, number = obstacle.partition(": ")
            raise NotEmptyError(
                f"Cannot delete workspace '{slug}': table '{table}' still contains {number}"
                " resource(s). Remove or reassign them before deleting the workspace.",
                field="mode",
            )

    async def _abandon_uploads(self, tenant: Tenant) -> None:
        try:
            await self._files.abandon_uploads(tenant)
        except UnavailableError as error:
            log.warning(
                "garbage collection will abort the uploads of the deleted tenant %s: %s",
                tenant.slug,
                error.message,
            )

    async def _tenant(self, slug: str) -> Tenant:
        """The tenant from the database. Raises WorkspaceNotFoundError if there is none."""
        async with self._database.without_tenant() as connection:
            found = await repository.find(connection, slug)
        if found is None:
            raise WorkspaceNotFoundError(slug)
        return Tenant(found[0], slug)


def _validated(slug: str) -> str:
    if not is_slug(slug):
        raise InvalidValueError(
            f"Workspace name '{slug}' must be 1 to 48 characters and match the pattern"
            " ^[a-z0-9]([-a-z0-9]*[a-z0-9])?$ (lowercase alphanumeric with optional internal"
            " hyphens).",
            field="name",
        )
    return slug


def _validate_description(description: str | None) -> None:
    if description is not None:
        validation.text(description, "description", MAX_DESCRIPTION_LENGTH)
