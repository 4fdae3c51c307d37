"""Tenants as things of their own: listed, made, described and deleted.

MLflow calls them workspaces, and its wording is used where its client or its users see it.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal

from sqlalchemy.exc import IntegrityError

from app.artifacts.multipart_uploads import Uploads
from app.artifacts.service import Artifacts
from app.audit import trail
from app.db.database import Database
from app.kernel import validation
from app.kernel.errors import (
    AlreadyExistsError,
    InvalidValueError,
    NotEmptyError,
    NotFoundError,
    UnavailableError,
    WorkspaceNotFoundError,
)
from app.kernel.slug import is_slug
from app.kernel.tenant import Tenant
from app.tenants import repository
from app.tenants.entities import Entry
from app.tenants.lookup import TenantLookup

log = logging.getLogger(__name__)

MAX_DESCRIPTION_LENGTH = 1000

DeletionMode = Literal["SET_DEFAULT", "CASCADE", "RESTRICT"]


class Tenants:
    """The default tenant is always listed: whoever names none is in it, made already or not.

    `forget` are told of every tenant that is deleted, to drop what they remember of it. What other
    workers remember is of the deleted tenant's id, which no other tenant gets.
    """

    def __init__(
        self,
        database: Database,
        tenants: TenantLookup,
        artifacts: Artifacts,
        uploads: Uploads,
        default_tenant: str,
        *,
        forget: Sequence[Callable[[Tenant], None]] = (),
    ) -> None:
        self._database = database
        self._tenants = tenants
        self._artifacts = artifacts
        self._uploads = uploads
        self._default = default_tenant
        self._forget = forget

    async def list(self) -> list[Entry]:
        """Every tenant, by slug."""
        async with self._database.directory() as connection:
            found = {one.slug: one for one in await repository.directory(connection)}
        if self._default:
            found.setdefault(self._default, Entry(self._default, None))
        return [found[slug] for slug in sorted(found)]

    async def page(self, *, limit: int, offset: int) -> tuple[Sequence[Entry], int]:
        """A page of the tenants that exist, by slug, and how many there are."""
        async with self._database.directory() as connection:
            page = await repository.directory(connection, limit=limit, offset=offset)
            return page, await repository.count(connection)

    async def get(self, slug: str, *, of: Tenant | None = None) -> Entry:
        """Raises NotFoundError for a slug that is no tenant's; where `of` is given, the tenant that
        the caller is one of, also for a slug that has become another's."""
        async with self._database.directory() as connection:
            found = await repository.directory(connection, _checked(slug), tenant=of)
        if found:
            return found[0]
        if slug == self._default and of is None:
            return Entry(slug, None)
        raise WorkspaceNotFoundError(slug)

    async def create(self, slug: str, description: str | None) -> Entry:
        """Raises AlreadyExistsError for a slug that is taken, as the default one always is."""
        _checked(slug)
        _check_description(description)
        if slug == self._default:
            raise InvalidValueError(
                f"The '{slug}' workspace is reserved and cannot be created", field="name"
            )
        try:
            async with self._database.directory() as connection:
                tenant = Tenant(await repository.create(connection, slug), slug)
                if description is not None:
                    await repository.describe(connection, slug, description)
                await trail.record(connection, tenant, "tenant.create", slug)
        except IntegrityError as error:
            raise AlreadyExistsError(f"Workspace '{slug}' already exists.", field="name") from error
        return Entry(slug, description)

    async def describe(self, slug: str, description: str, *, of: Tenant | None = None) -> Entry:
        """Raises NotFoundError as `get`."""
        await self.get(slug, of=of)
        _check_description(description)
        if slug == self._default:
            await self._tenants.current(slug, create=True)
        tenant = of or await self._tenant(slug)
        async with self._database.write(tenant) as connection:
            described = await repository.describe(connection, slug, description)
            # Its row is locked now, so that the slug stays whose it is.
            if not described or not await repository.directory(connection, slug, tenant=tenant):
                raise WorkspaceNotFoundError(slug)
            await trail.record(connection, tenant, "tenant.describe", slug)
        return Entry(slug, description)

    async def delete(self, slug: str, mode: DeletionMode) -> None:
        """RESTRICT deletes a tenant that holds nothing, CASCADE one with all that it holds.

        Raises NotEmptyError for the one that still holds something, NotFoundError for a slug that
        is no tenant's, InvalidValueError for SET_DEFAULT: what one tenant logged is not handed to
        another.
        """
        _checked(slug)
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
            with suppress(NotFoundError):
                await self._artifacts.delete(tenant, "experiments")
        async with self._database.write(tenant) as connection:
            obstacle = await repository.delete(connection, slug, cascade=mode == "CASCADE")
            if obstacle is None:
                await trail.record(connection, tenant, "tenant.delete", slug, mode=mode)
        if obstacle is None or obstacle == "absent":
            for forget in self._forget:
                forget(tenant)
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
            await self._uploads.abandon(tenant)
        except UnavailableError as error:
            log.warning(
                "uploads of the deleted tenant %s are left to garbage collection: %s",
                tenant.slug,
                error.message,
            )

    async def _tenant(self, slug: str) -> Tenant:
        """Raises NotFoundError for a slug that is no tenant's."""
        async with self._database.directory() as connection:
            found = await repository.find(connection, slug)
        if found is None:
            raise WorkspaceNotFoundError(slug)
        return Tenant(found[0], slug)


def _checked(slug: str) -> str:
    if not is_slug(slug):
        raise InvalidValueError(
            f"Workspace name '{slug}' must be 1 to 48 characters and match the pattern"
            " ^[a-z0-9]([-a-z0-9]*[a-z0-9])?$ (lowercase alphanumeric with optional internal"
            " hyphens).",
            field="name",
        )
    return slug


def _check_description(description: str | None) -> None:
    if description is not None:
        validation.text(description, "description", MAX_DESCRIPTION_LENGTH)
