"""The lifecycle of experiments, their tags, and searching them."""

from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from app.audit import trail
from app.db.database import Database
from app.experiments import repository
from app.experiments.entities import Experiment
from app.experiments.search import search_experiments
from app.kernel import validation
from app.kernel.clock import now_ms
from app.kernel.errors import (
    ExperimentNotActiveError,
    ExperimentNotFoundError,
    InvalidValueError,
    NotFoundError,
)
from app.kernel.field_names import OF_SINGLE_ITEM, FieldNames, check_tags
from app.kernel.ids import (
    FIRST_EXPERIMENT_ID,
    FIRST_EXPERIMENT_NAME,
    new_experiment_id,
    parse_experiment_id,
)
from app.kernel.lifecycle import PURGING, ViewType
from app.kernel.memory_budget import MemoryBudget
from app.kernel.tenant import TENANT_TAG, Tenant
from app.kernel.validation import MAX_EXPERIMENT_TAG_VALUE_LENGTH
from app.runs.repository import set_deleted_time_of_experiment
from app.search.page import Page
from app.search.page_sizes import MAX_PAGE_BYTES, cut_page, fetch_rows
from app.tenants.lookup import TenantLookup


class Experiments:
    """Methods on an experiment raise ExperimentNotFoundError where the tenant has no such one.

    A tenant that does not exist yet (id 0) has experiment 0; the first write creates the tenant,
    unless it is refused.

    With `tenant_tag`, experiments have the tag that is derived from their tenant.
    """

    def __init__(
        self,
        database: Database,
        memory: MemoryBudget,
        tenants: TenantLookup,
        *,
        tenant_tag: bool = True,
    ) -> None:
        self._database = database
        self._memory = memory
        self._tenants = tenants
        self._tenant_tag = tenant_tag

    async def create(
        self,
        tenant: Tenant,
        name: str,
        *,
        artifact_location: str | None = None,
        tags: Mapping[str, str] | None = None,
        field_names: FieldNames = OF_SINGLE_ITEM,
    ) -> int:
        """Create an experiment; returns its id.

        Raises AlreadyExistsError where an active or deleted experiment has the name, and
        InvalidValueError for a value that breaks a rule.
        """
        tags = dict(tags or {})
        validation.experiment_name(name)
        if artifact_location:
            validation.artifact_location(artifact_location)
        check_tags(tags, field_names, MAX_EXPERIMENT_TAG_VALUE_LENGTH)
        if not tenant.id and name == FIRST_EXPERIMENT_NAME:
            raise repository.name_taken(name)
        tenant = await self._tenants.ensure_created(tenant)
        experiment_id = new_experiment_id()
        async with self._database.write(tenant) as connection:
            await repository.create(
                connection,
                tenant,
                experiment_id=experiment_id,
                name=name,
                artifact_location=artifact_location or None,
                now=now_ms(),
            )
            await repository.TAGS.set(connection, tenant, experiment_id, tags)
        return experiment_id

    async def get(self, tenant: Tenant, experiment_id: str) -> Experiment:
        """The experiment, active or deleted."""
        number = _id(experiment_id)
        if not tenant.id:  # unless this request has created it
            tenant = await self._tenants.resolve(tenant.slug)
        async with self._database.read(tenant) as connection:
            found = await repository.get(connection, tenant, [number])
        if not found:
            raise ExperimentNotFoundError(experiment_id)
        return self._add_derived_tags(tenant, found)[0]

    async def get_by_name(self, tenant: Tenant, name: str) -> Experiment:
        """The experiment of that name, active or deleted. Raises NotFoundError."""
        validation.text(name, "experiment_name")
        async with self._database.read(tenant) as connection:
            found = await repository.get_by_name(connection, tenant, name)
        if found is None:
            raise NotFoundError(
                f"Could not find experiment with name '{name}'", field="experiment_name"
            )
        return self._add_derived_tags(tenant, [found])[0]

    async def search(
        self,
        tenant: Tenant,
        *,
        filter: str = "",
        order_by: Sequence[str] = (),
        view: ViewType = "ACTIVE_ONLY",
        name_contains: str = "",
        limit: int = 1000,
        page_token: str | None = None,
        offset: int = 0,
    ) -> tuple[list[Experiment], str | None]:
        """A page of experiments, and the next page's token.

        A page of experiments with large tags may have fewer than `limit`. Raises InvalidValueError
        for a malformed filter, order or token.
        """
        page = self._page(tenant, filter, order_by, view, name_contains, limit, page_token, offset)
        async with self._database.read(tenant) as connection:
            return await self._read(connection, tenant, page)

    async def search_and_count(
        self,
        tenant: Tenant,
        *,
        view: ViewType,
        name_contains: str,
        limit: int,
        offset: int,
    ) -> tuple[list[Experiment], int]:
        """A page of experiments by offset, and how many match in all.

        Raises InvalidValueError for a page of experiments that are too large: a shorter page would
        make clients that add `limit` to `offset` skip experiments.
        """
        page = self._page(tenant, "", (), view, name_contains, limit, None, offset)
        async with self._database.read(tenant) as connection:
            experiments, token = await self._read(connection, tenant, page)
            total = await repository.count_matches(connection, page)
        if token and len(experiments) < limit:
            raise InvalidValueError(
                f"The experiments of this page take more than {MAX_PAGE_BYTES} bytes; the first"
                f" {len(experiments)} do not",
                field="limit",
            )
        return experiments, total

    async def update(
        self,
        tenant: Tenant,
        experiment_id: str,
        *,
        name: str | None = None,
        tags: Mapping[str, str | None] | None = None,
        field_names: FieldNames = OF_SINGLE_ITEM,
    ) -> None:
        """Rename an active experiment and merge tags, all or nothing; None deletes a tag.

        Raises ExperimentNotActiveError, AlreadyExistsError where the name is taken, and
        InvalidValueError for a value that breaks a rule.
        """
        tags = dict(tags or {})
        if name is not None:
            validation.experiment_name(name)
        check_tags(tags, field_names, MAX_EXPERIMENT_TAG_VALUE_LENGTH)
        number = _id(experiment_id)
        tenant = await self._tenants.ensure_experiment(tenant, number)
        async with self._database.write(tenant) as connection:
            refusal = None if name is None else "Cannot rename a non-active experiment."
            await self._lock_active(connection, tenant, number, refusal)
            deleted = [key for key, value in tags.items() if value is None]
            given = {key: value for key, value in tags.items() if value is not None}
            await repository.TAGS.delete(connection, tenant, number, deleted)
            await repository.TAGS.set(connection, tenant, number, given)
            if name is None:
                await repository.change(connection, tenant, number, last_update_time=now_ms())
            else:
                await repository.rename(connection, tenant, number, name, now=now_ms())

    async def set_tag(self, tenant: Tenant, experiment_id: str, key: str, value: str) -> None:
        """Set a tag of an active experiment. Raises ExperimentNotActiveError, InvalidValueError."""
        tags = {key: value}
        check_tags(tags, OF_SINGLE_ITEM, MAX_EXPERIMENT_TAG_VALUE_LENGTH)
        number = _id(experiment_id)
        tenant = await self._tenants.ensure_experiment(tenant, number)
        async with self._database.write(tenant) as connection:
            await self._lock_active(connection, tenant, number)
            await repository.TAGS.set(connection, tenant, number, tags)

    async def delete_tag(self, tenant: Tenant, experiment_id: str, key: str) -> None:
        """Delete a tag of an active experiment.

        Raises NotFoundError where there is no such tag, InvalidValueError for one that is derived,
        and ExperimentNotActiveError.
        """
        validation.text(key, "key")
        validation.deletable(key, "key")
        number = _id(experiment_id)
        absent = NotFoundError(
            f"No tag with name: {key} in experiment with id {experiment_id}", field="key"
        )
        if not tenant.id and number == FIRST_EXPERIMENT_ID:
            raise absent
        async with self._database.write(tenant) as connection:
            await self._lock_active(connection, tenant, number)
            if not await repository.TAGS.delete(connection, tenant, number, [key]):
                raise absent

    async def delete(self, tenant: Tenant, experiment_id: str) -> None:
        """Soft-delete an active experiment and its runs."""
        number, now = _id(experiment_id), now_ms()
        tenant = await self._tenants.ensure_experiment(tenant, number)
        async with self._database.write(tenant) as connection:
            row = await repository.lock(connection, tenant, number)
            if row is None or row.deleted_time is not None:
                raise ExperimentNotFoundError(experiment_id)
            await _set_deleted_time(connection, tenant, number, now, now=now)
            await trail.record(connection, tenant, "experiment.delete", experiment_id)

    async def restore(self, tenant: Tenant, experiment_id: str) -> None:
        """Restore a deleted experiment, with all its runs.

        Raises ExperimentNotFoundError, too, for one that is active or whose purge has begun.
        """
        number = _id(experiment_id)
        async with self._database.write(tenant) as connection:
            row = await repository.lock(connection, tenant, number)
            if row is None or row.deleted_time in (None, PURGING):
                raise ExperimentNotFoundError(experiment_id)
            await _set_deleted_time(connection, tenant, number, None, now=now_ms())
            await trail.record(connection, tenant, "experiment.restore", experiment_id)

    async def _lock_active(
        self,
        connection: AsyncConnection,
        tenant: Tenant,
        number: int,
        message: str | None = None,
    ) -> None:
        """Lock an active experiment until the commit.

        Raises ExperimentNotFoundError, and ExperimentNotActiveError with `message`, if given.
        """
        row = await repository.lock(connection, tenant, number)
        if row is None:
            raise ExperimentNotFoundError(str(number))
        if row.deleted_time is not None:
            raise ExperimentNotActiveError(str(number), row.deleted_time, message)

    def _page(
        self,
        tenant: Tenant,
        filter: str,
        order_by: Sequence[str],
        view: ViewType,
        name_contains: str,
        limit: int,
        page_token: str | None,
        offset: int,
    ) -> Page:
        return search_experiments(
            tenant,
            filter=filter,
            order_by=order_by,
            view=view,
            name_contains=name_contains,
            limit=limit,
            page_token=page_token,
            offset=offset,
            tenant_tag=self._tenant_tag,
        )

    async def _read(
        self, connection: AsyncConnection, tenant: Tenant, page: Page
    ) -> tuple[list[Experiment], str | None]:
        rows = await fetch_rows(connection, page)
        tags = (repository.TAGS.table, repository.TAGS.owner_column)
        ids, token = await cut_page(self._memory, connection, tenant, page, rows, tags)
        return self._add_derived_tags(tenant, await repository.get(connection, tenant, ids)), token

    def _add_derived_tags(self, tenant: Tenant, experiments: list[Experiment]) -> list[Experiment]:
        """Add the tag that is not stored: that of the tenant."""
        if self._tenant_tag:
            for experiment in experiments:
                experiment.tags[TENANT_TAG] = tenant.slug
        return experiments


async def _set_deleted_time(
    connection: AsyncConnection,
    tenant: Tenant,
    experiment_id: int,
    deleted_time: int | None,
    *,
    now: int,
) -> None:
    """Soft-delete an experiment and its runs, or restore them with None."""
    await repository.change(
        connection, tenant, experiment_id, deleted_time=deleted_time, last_update_time=now
    )
    await set_deleted_time_of_experiment(connection, tenant, experiment_id, deleted_time)


def _id(experiment_id: str) -> int:
    """The id as stored. Raises ExperimentNotFoundError for a string that cannot be one."""
    number = parse_experiment_id(experiment_id)
    if number is None:
        raise ExperimentNotFoundError(experiment_id)
    return number
