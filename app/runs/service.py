"""The rules of runs."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import psycopg

from app.audit import trail
from app.db.coalescer import Coalescer
from app.db.database import Database
from app.kernel import validation
from app.kernel.artifact_uris import RunLocation, run_artifact_uri
from app.kernel.clock import now_ms
from app.kernel.errors import (
    ExperimentNotActiveError,
    ExperimentNotFoundError,
    InvalidValueError,
    NotFoundError,
    RunNotActiveError,
    RunNotFoundError,
    TrackingError,
    UnavailableError,
)
from app.kernel.ids import new_uuid, parse_experiment_id, parse_run_id
from app.kernel.lifecycle import ViewType
from app.kernel.sharing import Sharing
from app.kernel.tenant import Tenant
from app.runs import key_limits, repository, sql
from app.runs.coalescers import creation_queue, version_queue
from app.runs.entities import ENDED, LOGGED_MODELS_TAG, RUN_NAME_TAG, Run, RunWrite
from app.runs.json_cache import Render, RenderedRun
from app.runs.reader import MAX_PAGE_BYTES, RunReader
from app.runs.statement_cache import MAX_LENGTH, find_runs
from app.runs.validation import check_write, new_name, recorded_models
from app.search.page import CompiledPage
from app.tenants.quotas import Quotas


class Runs:
    """Every method raises NotFoundError for a run that is not the tenant's."""

    def __init__(
        self,
        database: Database,
        queue: Coalescer[RunWrite, None],
        quotas: Quotas,
        sharing: Sharing,
        *,
        tenant_tag: bool = True,
        search_timeout_seconds: float = 30,
    ) -> None:
        self._database = database
        self._writes = queue
        self._creations = creation_queue(database, quotas)
        self._versions = version_queue(database)
        self._quotas = quotas
        self._sharing = sharing
        self._tenant_tag = tenant_tag
        self._timeout_ms = round(search_timeout_seconds * 1000)
        self._reader = RunReader(database, sharing, tenant_tag=tenant_tag)

    async def create(
        self,
        tenant: Tenant,
        experiment_id: str,
        *,
        name: str = "",
        user_id: str = "",
        start_time: int | None = None,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Run:
        """A new run in an active experiment, running since `start_time` (now)."""
        tags, params = dict(tags or {}), dict(params or {})
        validation.fits("A run", "params", len(params), validation.MAX_PARAMS)
        validation.fits("A run", "tags", len(tags), validation.MAX_TAGS)
        for key, value in params.items():
            validation.param(key, value, "params.")
        for key, value in tags.items():
            validation.tag(key, value, "tags.")
        validation.text(user_id, "user_id")
        if start_time is not None:
            validation.int64(start_time, "start_time", 0)
        number = parse_experiment_id(experiment_id)
        if number is None:
            raise ExperimentNotFoundError(experiment_id)
        run = Run(
            run_id=new_uuid(),
            experiment_id=number,
            name=new_name(name, tags.pop(RUN_NAME_TAG, "")),
            user_id=user_id,
            status="RUNNING",
            start_time=now_ms() if start_time is None else start_time,
            end_time=None,
            deleted_time=None,
            version=0,
            artifact_uri="",
            params=params,
            tags=tags,
        )
        experiment = await self._creations.submit(tenant, run)
        if experiment is None:
            raise ExperimentNotFoundError(experiment_id)
        artifact_location, deleted_time = experiment
        if deleted_time is not None:
            raise ExperimentNotActiveError(experiment_id, deleted_time)
        run.artifact_uri = run_artifact_uri(number, artifact_location, run.run_id.hex)
        return self._reader.shown(tenant, [run])[0]

    async def get(self, tenant: Tenant, run_id: str) -> Run:
        (run,) = await self.get_many(tenant, [run_id])
        return run

    async def get_info(self, tenant: Tenant, run_id: str) -> Run:
        """The run without its params, tags, metrics, inputs and outputs."""
        async with self._database.read_pipeline(tenant) as connection:
            run = await repository.read_info(connection, tenant, _id(run_id))
        if run is None:
            raise RunNotFoundError(run_id)
        return run

    async def locate(self, tenant: Tenant, run_id: str) -> RunLocation:
        """Where the run's artifacts are. Reads nothing else of the run; a deleted one has them."""
        async with self._database.read_pipeline(tenant) as connection:
            location = await repository.locate(connection, tenant, _id(run_id))
        if location is None:
            raise RunNotFoundError(run_id)
        return location

    async def get_rendered(self, tenant: Tenant, run_id: str, render: Render) -> bytes:
        return (await self.rendered(tenant, run_id, render)).body

    async def rendered(self, tenant: Tenant, run_id: str, render: Render) -> RenderedRun:
        number = _id(run_id)
        version = await self._versions.submit(tenant, number)
        if version is None:
            raise RunNotFoundError(run_id)
        found, _ = await self._reader.rendered(tenant, [(number, version)], render)
        if not found:  # deleted for good since its version was read
            raise RunNotFoundError(run_id)
        return found[0]

    async def get_many(self, tenant: Tenant, run_ids: Sequence[str]) -> list[Run]:
        """The runs in the order asked for. Raises NotFoundError naming the first that is absent."""
        ids = [_id(run_id) for run_id in run_ids]
        runs = await self._reader.read(tenant, ids)
        if len(runs) < len(ids):
            found = {run.run_id for run in runs}
            raise RunNotFoundError(next(i.hex for i in ids if i not in found))
        return runs

    async def search(
        self,
        tenant: Tenant,
        experiment_ids: Sequence[str],
        *,
        filter: str = "",
        order_by: Sequence[str] = (),
        view: ViewType = "ACTIVE_ONLY",
        limit: int,
        page_token: str | None = None,
        render: Render,
    ) -> tuple[list[bytes], str | None]:
        """A page of runs, newest first unless ordered otherwise, and the token of the next one. It
        may end before its limit, by the size of the runs."""
        page = await self._compiled(
            tenant,
            _existing_ids(experiment_ids),
            filter=filter,
            order_by=order_by,
            view=view,
            limit=limit,
            page_token=page_token,
            tenant_tag=self._tenant_tag,
        )
        async with self._bounded(), self._database.read_pipeline(tenant) as connection:
            cursor = await repository.find(connection, page, timeout_ms=self._timeout_ms)
        rows = await cursor.fetchall()
        found = [(row[0], row[-1]) for row in rows[:limit]]
        runs, count = await self._reader.rendered(tenant, found, render)
        _, token = page.split(rows, count)
        return [run.body for run in runs], token

    async def search_and_count(
        self,
        tenant: Tenant,
        experiment_ids: Sequence[str] | None,
        *,
        filter: str = "",
        order_by: Sequence[str] = (),
        statuses: Sequence[str] = (),
        view: ViewType = "ACTIVE_ONLY",
        limit: int,
        offset: int,
        render: Render,
    ) -> tuple[list[RenderedRun], int]:
        """A page of runs by offset, of all experiments with None, and how many match in all.

        Raises InvalidValueError for a page that is too large: those who count on in steps of
        `limit` would miss what a shorter one leaves out.
        """
        page = await self._compiled(
            tenant,
            None if experiment_ids is None else _existing_ids(experiment_ids),
            filter=filter,
            order_by=order_by,
            statuses=statuses,
            view=view,
            limit=limit,
            offset=offset,
            tenant_tag=self._tenant_tag,
        )
        async with self._bounded(), self._database.read_pipeline(tenant) as connection:
            found = await repository.find(connection, page, timeout_ms=self._timeout_ms)
            counted = await repository.count(connection, page)
        rows = await found.fetchall()
        versions = [(row[0], row[-1]) for row in rows[:limit]]
        ((total,),) = await counted.fetchall()
        runs, count = await self._reader.rendered(tenant, versions, render)
        if count < len(versions):
            raise InvalidValueError(
                f"The runs of this page take more than {MAX_PAGE_BYTES} bytes; the first {count}"
                " do not",
                field="limit",
            )
        return runs, total

    async def _compiled(self, tenant: Tenant, *search: Any, **more: Any) -> CompiledPage:
        """`find_runs`; a long search waits for its turn, since to parse it takes a while."""
        if len(more["filter"]) <= MAX_LENGTH:
            return find_runs(tenant, *search, **more)
        async with self._sharing.turns.turn(tenant):
            return find_runs(tenant, *search, **more)

    async def log(self, tenant: Tenant, write: RunWrite) -> None:
        """Log points, params and tags, all or nothing; returns once they are committed.

        Raises InvalidValueError naming the field at fault, ConflictError for a param that was
        logged with another value, InvalidStateError for a deleted run, RateLimitedError where the
        day's points are used up.
        """
        check_write(write)
        if write.tags.get(RUN_NAME_TAG) == "":
            del write.tags[RUN_NAME_TAG]  # as in MLflow, a run does not lose its name
        await self._quotas.take_points(tenant, len(write.points))
        try:
            await self._writes.submit(tenant, write)
        except TrackingError:
            self._quotas.return_points(tenant, len(write.points))
            raise

    async def update(
        self,
        tenant: Tenant,
        run_id: str,
        *,
        status: str | None = None,
        end_time: int | None = None,
        name: str | None = None,
        tags: Mapping[str, str | None] | None = None,
    ) -> Run:
        """Change an active run, and merge tags, where None removes one; what `get_info` then is."""
        tags = dict(tags or {})
        for key, value in tags.items():
            validation.tag(key, value or "", "tags.")
        if name:
            validation.text(name, "run_name", validation.MAX_TAG_VALUE_LENGTH)
        if end_time is not None:
            validation.int64(end_time, "end_time", 0)
        number = _id(run_id)
        kept = {key: value for key, value in tags.items() if value is not None}
        named = kept.pop(RUN_NAME_TAG, None)
        name = name or named
        async with self._database.write_pipeline(tenant) as connection:
            values: dict[str, Any] = {"tenant": tenant.id, "run": number}
            await _lock_active(connection, tenant, run_id)
            await connection.execute(
                sql.UPDATE_RUN,
                values | {"status": status, "end_time": end_time, "name": name or None},
            )
            if status in ENDED:
                await connection.execute(sql.SETTLE_SERIES, values)
            if removed := [key for key, value in tags.items() if value is None]:
                await connection.execute(sql.DELETE_TAGS, values | {"keys": removed})
            await _set_tags(connection, tenant, number, kept)
            run = await repository.read_info(connection, tenant, number)
        assert run is not None
        return run

    async def delete(self, tenant: Tenant, run_id: str) -> None:
        await self._mark(tenant, run_id, now_ms())

    async def restore(self, tenant: Tenant, run_id: str) -> None:
        await self._mark(tenant, run_id, None)

    async def delete_tag(self, tenant: Tenant, run_id: str, key: str) -> None:
        """Raises NotFoundError where there is no such tag, InvalidValueError for a derived one."""
        validation.text(key, "key")
        validation.settable(key, "key")
        if key == RUN_NAME_TAG:
            raise InvalidValueError(
                f"The tag '{RUN_NAME_TAG}' is the run's name and cannot be deleted", field="key"
            )
        async with self._database.write_pipeline(tenant) as connection:
            await _lock_active(connection, tenant, run_id)
            gone = await repository.one(
                connection, sql.DELETE_TAGS, tenant=tenant.id, run=_id(run_id), keys=[key]
            )
            if gone is None:
                raise NotFoundError(f"No tag with name: {key} in run with id {run_id}", field="key")
            await _raise_version(connection, tenant, run_id)

    async def record_logged_model(
        self, tenant: Tenant, run_id: str, model: Mapping[str, Any]
    ) -> None:
        """Append to the list of models in the run's tag, as MLflow 2's clients ask for it.

        Raises ConflictError where somebody has set that tag to something else.
        """
        async with self._database.write_pipeline(tenant) as connection:
            await _lock_active(connection, tenant, run_id)
            row = await repository.one(
                connection,
                sql.READ_TAG,
                tenant=tenant.id,
                run=_id(run_id),
                key=LOGGED_MODELS_TAG,
            )
            value = json.dumps([*recorded_models(row[0] if row else "[]"), model])
            validation.tag(LOGGED_MODELS_TAG, value, "model_json.")
            await _set_tags(connection, tenant, _id(run_id), {LOGGED_MODELS_TAG: value})
            await _raise_version(connection, tenant, run_id)

    async def _mark(self, tenant: Tenant, run_id: str, deleted_time: int | None) -> None:
        async with self._database.write_pipeline(tenant) as connection:
            row = await repository.one(
                connection,
                sql.SET_DELETED_TIME,
                tenant=tenant.id,
                run=_id(run_id),
                deleted_time=deleted_time,
            )
            if row is None:
                raise RunNotFoundError(run_id)
            action = "run.restore" if deleted_time is None else "run.delete"
            await trail.record(connection, tenant, action, run_id)

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        """Raises InvalidValueError for a search that took too long. To try it again, as clients do
        where a server was not available, would only cost as much again."""
        try:
            yield
        except UnavailableError as error:
            if not isinstance(error.__cause__, psycopg.errors.QueryCanceled):
                raise
            raise InvalidValueError(
                f"The search took more than {self._timeout_ms / 1000:g} seconds and was ended."
                " Search fewer experiments, or name a param or a tag that the runs have in common",
                field="filter",
            ) from error


async def _lock_active(connection: psycopg.AsyncConnection, tenant: Tenant, run_id: str) -> None:
    row = await repository.one(connection, sql.LOCK_RUN, tenant=tenant.id, run=_id(run_id))
    if row is None:
        raise RunNotFoundError(run_id)
    if row[0] is not None:
        raise RunNotActiveError(run_id, row[0])


async def _set_tags(
    connection: psycopg.AsyncConnection, tenant: Tenant, run_id: UUID, tags: Mapping[str, str]
) -> None:
    """Set tags of a run that is locked. Raises InvalidValueError where it would have too many."""
    if not tags:
        return
    await key_limits.check_tags(connection, tenant, run_id.hex, tags.keys())
    await connection.execute(
        sql.UPSERT_TAGS,
        {
            "tenant": tenant.id,
            "runs": [run_id] * len(tags),
            "keys": list(tags),
            "values": list(tags.values()),
        },
    )


async def _raise_version(connection: psycopg.AsyncConnection, tenant: Tenant, run_id: str) -> None:
    await connection.execute(
        sql.UPDATE_RUN,
        {
            "tenant": tenant.id,
            "run": _id(run_id),
            "status": None,
            "end_time": None,
            "name": None,
        },
    )


def _id(run_id: str) -> UUID:
    number = parse_run_id(run_id)
    if number is None:
        raise RunNotFoundError(run_id)
    return number


def _existing_ids(experiment_ids: Sequence[str]) -> list[int]:
    """Ids that can be some experiment's; the others match no run."""
    return [number for one in experiment_ids if (number := parse_experiment_id(one)) is not None]
