"""The rules of experiments."""

from collections.abc import Mapping, Sequence
from typing import cast

from sqlalchemy import Table
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.audit import trail
from app.db.database import Database
from app.db.tables.experiments import ExperimentTag
from app.experiments import repository
from app.experiments.entities import Experiment
from app.kernel import validation
from app.kernel.clock import now_ms
from app.kernel.errors import (
    AlreadyExistsError,
    ExperimentNotActiveError,
    ExperimentNotFoundError,
    InvalidValueError,
    NotFoundError,
)
from app.kernel.ids import new_experiment_id, parse_experiment_id
from app.kernel.lifecycle import PURGING, ViewType
from app.kernel.memory_budget import MemoryBudget
from app.kernel.tenant import TENANT_TAG, Tenant
from app.search.page import Page
from app.search.page_sizes import MAX_PAGE_BYTES, split
from app.search.queries import search_experiments


class Experiments:
    """Every method raises NotFoundError for an experiment that is not the tenant's."""

    def __init__(
        self, database: Database, memory: MemoryBudget, *, tenant_tag: bool = True
    ) -> None:
        self._database = database
        self._memory = memory
        self._tenant_tag = tenant_tag

    async def create(
        self,
        tenant: Tenant,
        name: str,
        *,
        artifact_location: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> int:
        """The new experiment's id. Raises AlreadyExistsError where the name is taken."""
        tags = tags or {}
        validation.experiment_name(name)
        if artifact_location:
            validation.artifact_location(artifact_location)
        _check_tags(tags)
        experiment_id = new_experiment_id()
        async with self._database.write(tenant) as connection:
            created = await repository.create(
                connection,
                tenant,
                experiment_id=experiment_id,
                name=name,
                artifact_location=artifact_location or None,
                now=now_ms(),
            )
            if not created:
                raise _taken(name)
            await repository.TAGS.set(connection, tenant, experiment_id, tags)
        return experiment_id

    async def get(self, tenant: Tenant, experiment_id: str) -> Experiment:
        async with self._database.read(tenant) as connection:
            found = await repository.get(connection, tenant, [_id(experiment_id)])
        if not found:
            raise ExperimentNotFoundError(experiment_id)
        return self._shown(tenant, found)[0]

    async def get_by_name(self, tenant: Tenant, name: str) -> Experiment:
        validation.text(name, "experiment_name")
        async with self._database.read(tenant) as connection:
            found = await repository.get_by_name(connection, tenant, name)
        if found is None:
            raise NotFoundError(
                f"Could not find experiment with name '{name}'", field="experiment_name"
            )
        return self._shown(tenant, [found])[0]

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
        """A page of experiments, and the token of the next one. It may end before its limit, by
        the size of their tags."""
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
        """A page of experiments by offset, and how many there are in all.

        Raises InvalidValueError for a page that is too large: those who count on in steps of
        `limit` would miss what a shorter one leaves out.
        """
        page = self._page(tenant, "", (), view, name_contains, limit, None, offset)
        async with self._database.read(tenant) as connection:
            experiments, token = await self._read(connection, tenant, page)
            total = (await connection.execute(page.count)).scalar_one()
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
    ) -> None:
        """Rename, and merge tags; None removes one. All or nothing."""
        tags = tags or {}
        if name is not None:
            validation.experiment_name(name)
        _check_tags(tags)
        async with self._database.write(tenant) as connection:
            refusal = None if name is None else "Cannot rename a non-active experiment."
            key = await self._lock_active(connection, tenant, experiment_id, refusal)
            removed = [k for k, v in tags.items() if v is None]
            await repository.TAGS.delete(connection, tenant, key, removed)
            await repository.TAGS.set(
                connection, tenant, key, {k: v for k, v in tags.items() if v is not None}
            )
            values: dict[str, object] = {"last_update_time": now_ms()}
            if name is not None:
                values["name"] = name
            try:
                await repository.change(connection, tenant, key, **values)
            except IntegrityError as error:
                raise _taken(name or "") from error

    async def set_tag(self, tenant: Tenant, experiment_id: str, key: str, value: str) -> None:
        _check_tags({key: value})
        async with self._database.write(tenant) as connection:
            number = await self._lock_active(connection, tenant, experiment_id)
            await repository.TAGS.set(connection, tenant, number, {key: value})

    async def delete_tag(self, tenant: Tenant, experiment_id: str, key: str) -> None:
        validation.text(key, "key")
        validation.settable(key, "key")
        async with self._database.write(tenant) as connection:
            number = await self._lock_active(connection, tenant, experiment_id)
            if not await repository.TAGS.delete(connection, tenant, number, [key]):
                raise NotFoundError(
                    f"No tag with name: {key} in experiment with id {experiment_id}", field="key"
                )

    async def delete(self, tenant: Tenant, experiment_id: str) -> None:
        """Archive the experiment and its runs."""
        now = now_ms()
        async with self._database.write(tenant) as connection:
            row = await repository.lock(connection, tenant, _id(experiment_id))
            if row is None or row.deleted_time is not None:
                raise ExperimentNotFoundError(experiment_id)
            await self._mark(connection, tenant, _id(experiment_id), now, deleted_time=now)
            await trail.record(connection, tenant, "experiment.delete", experiment_id)

    async def restore(self, tenant: Tenant, experiment_id: str) -> None:
        """Bring an archived experiment back, with all its runs."""
        async with self._database.write(tenant) as connection:
            row = await repository.lock(connection, tenant, _id(experiment_id))
            if row is None or row.deleted_time in (None, PURGING):
                raise ExperimentNotFoundError(experiment_id)
            await self._mark(connection, tenant, _id(experiment_id), now_ms(), deleted_time=None)
            await trail.record(connection, tenant, "experiment.restore", experiment_id)

    async def _mark(
        self,
        connection: AsyncConnection,
        tenant: Tenant,
        experiment_id: int,
        now: int,
        *,
        deleted_time: int | None,
    ) -> None:
        await repository.change(
            connection, tenant, experiment_id, deleted_time=deleted_time, last_update_time=now
        )
        await repository.mark_runs(connection, tenant, experiment_id, deleted_time)

    async def _lock_active(
        self,
        connection: AsyncConnection,
        tenant: Tenant,
        experiment_id: str,
        message: str | None = None,
    ) -> int:
        number = _id(experiment_id)
        row = await repository.lock(connection, tenant, number)
        if row is None:
            raise ExperimentNotFoundError(experiment_id)
        if row.deleted_time is not None:
            raise ExperimentNotActiveError(experiment_id, row.deleted_time, message)
        return number

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
        rows = (await connection.execute(page.statement)).all()
        tags = (cast(Table, ExperimentTag.__table__), "experiment_id")
        ids, token = await split(self._memory, connection, tenant, page, rows, tags)
        return self._shown(tenant, await repository.get(connection, tenant, ids)), token

    def _shown(self, tenant: Tenant, experiments: list[Experiment]) -> list[Experiment]:
        if self._tenant_tag:
            for experiment in experiments:
                experiment.tags[TENANT_TAG] = tenant.slug
        return experiments


def _id(experiment_id: str) -> int:
    number = parse_experiment_id(experiment_id)
    if number is None:
        raise ExperimentNotFoundError(experiment_id)
    return number


def _taken(name: str) -> AlreadyExistsError:
    return AlreadyExistsError(f"Experiment(name={name}) already exists.", field="name")


def _check_tags(tags: Mapping[str, str | None]) -> None:
    for key, value in tags.items():
        validation.tag(key, value or "", "", validation.MAX_EXPERIMENT_TAG_VALUE_LENGTH)
