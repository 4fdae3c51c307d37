"""Tenants as things of their own: listed, made, described and deleted.

MLflow calls them workspaces, and its wording is used where its client or its users see it.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.exc import IntegrityError

from app import validation
from app.artifacts.service import Artifacts
from app.db.database import Database
from app.errors import AlreadyExistsError, InvalidValueError, NotEmptyError, NotFoundError
from app.tenancy import repository
from app.tenancy.service import Tenants
from app.tenancy.slug import is_slug
from app.tenancy.tenant import Tenant

MAX_DESCRIPTION_LENGTH = 1000

DeletionMode = Literal["SET_DEFAULT", "CASCADE", "RESTRICT"]


@dataclass(frozen=True, slots=True)
class Entry:
    slug: str
    description: str | None


class Directory:
    """The default tenant is always listed: whoever names none is in it, made already or not."""

    def __init__(
        self, database: Database, tenants: Tenants, artifacts: Artifacts, default_tenant: str
    ) -> None:
        self._database = database
        self._tenants = tenants
        self._artifacts = artifacts
        self._default = default_tenant

    async def list(self) -> list[Entry]:
        """Every tenant, by slug."""
        async with self._database.directory() as connection:
            found = {
                slug: Entry(slug, text) for slug, text in await repository.directory(connection)
            }
        if self._default:
            found.setdefault(self._default, Entry(self._default, None))
        return [found[slug] for slug in sorted(found)]

    async def get(self, slug: str) -> Entry:
        """Raises NotFoundError for a slug that is no tenant's."""
        async with self._database.directory() as connection:
            rows = await repository.directory(connection, _checked(slug))
        if rows:
            return Entry(*rows[0])
        if slug == self._default:
            return Entry(slug, None)
        raise _absent(slug)

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
                await repository.create(connection, slug)
                if description is not None:
                    await repository.describe(connection, slug, description)
        except IntegrityError as error:
            raise AlreadyExistsError(f"Workspace '{slug}' already exists.", field="name") from error
        return Entry(slug, description)

    async def describe(self, slug: str, description: str) -> Entry:
        """Raises NotFoundError for a slug that is no tenant's."""
        await self.get(slug)
        _check_description(description)
        if slug == self._default:
            await self._tenants.resolve(slug, {}, write=True)
        async with self._database.directory() as connection:
            if not await repository.describe(connection, slug, description):
                raise _absent(slug)
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
        if mode == "CASCADE":
            await self._delete_artifacts(slug)
        async with self._database.directory() as connection:
            obstacle = await repository.delete(connection, slug, cascade=mode == "CASCADE")
        self._tenants.forget(slug)
        if obstacle == "absent":
            raise _absent(slug)
        if obstacle is not None:
            table, _, number = obstacle.partition(": ")
            raise NotEmptyError(
                f"Cannot delete workspace '{slug}': table '{table}' still contains {number}"
                " resource(s). Remove or reassign them before deleting the workspace.",
                field="mode",
            )

    async def _delete_artifacts(self, slug: str) -> None:
        async with self._database.directory() as connection:
            tenant_id = await repository.find(connection, slug)
        if tenant_id is not None:
            with suppress(NotFoundError):
                await self._artifacts.delete(Tenant(tenant_id, slug), "experiments")


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


def _absent(slug: str) -> NotFoundError:
    return NotFoundError(f"Workspace '{slug}' not found", field="name")
