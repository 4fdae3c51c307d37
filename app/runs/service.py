"""The lifecycle of runs, reading them, and logging to them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app.audit import trail
from app.db.coalescer import Coalescer
from app.db.database import Database
from app.db.pipeline import Pipeline
from app.kernel import validation
from app.kernel.artifact_uris import RunLocation, run_artifact_uri
from app.kernel.clock import now_ms
from app.kernel.errors import (
    ExperimentNotActiveError,
    ExperimentNotFoundError,
    NotFoundError,
    RunNotActiveError,
    RunNotFoundError,
    TrackingError,
)
from app.kernel.field_names import WITHOUT_INDEX, FieldNames, check_params, check_tags
from app.kernel.ids import new_uuid, parse_experiment_id
from app.kernel.tenant import Tenant
from app.runs import key_limits, repository
from app.runs.coalescers import creation_queue, version_queue
from app.runs.entities import ENDED_STATUSES, LOGGED_MODELS_TAG, RUN_NAME_TAG, Run, RunWrite
from app.runs.reader import RunReader
from app.runs.rendering import Render, RenderedRun
from app.runs.validation import check_write, new_name, recorded_models, run_name, run_uuid
from app.tenants.lookup import TenantLookup
from app.tenants.quotas import Quotas


class Runs:
    """Methods on a run raise RunNotFoundError where the tenant has no such run."""

    def __init__(
        self,
        database: Database,
        write_queue: Coalescer[RunWrite, None],
        quotas: Quotas,
        tenants: TenantLookup,
        reader: RunReader,
        *,
        max_value_length: int,
    ) -> None:
        """Values of params and tags of more than `max_value_length` characters are cut."""
        self._database = database
        self._writes = write_queue
        self._creations = creation_queue(database, quotas)
        self._versions = version_queue(database)
        self._quotas = quotas
        self._tenants = tenants
        self._reader = reader
        self._max_value_length = max_value_length

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
        field_names: FieldNames = WITHOUT_INDEX,
    ) -> Run:
        """A new run in an active experiment, with the status RUNNING.

        `start_time` is in epoch milliseconds, by default now; without a name, it gets a random one.

        Raises ExperimentNotFoundError, ExperimentNotActiveError, QuotaExceededError, and
        InvalidValueError for a value that breaks a rule.
        """
        tags, params = dict(tags or {}), dict(params or {})
        validation.fits("A run", "params", len(params), validation.MAX_PARAMS)
        check_params(params, field_names, self._max_value_length)
        check_tags(tags, field_names, self._max_value_length, cuts=True)
        name = new_name(
            name, tags.pop(RUN_NAME_TAG, ""), field_names.run_name, self._max_value_length
        )
        validation.fits("A run", "tags", len(tags), validation.MAX_TAGS)
        validation.text(user_id, "user_id")
        if start_time is not None:
            validation.int64(start_time, "start_time")
        number = parse_experiment_id(experiment_id)
        if number is None:
            raise ExperimentNotFoundError(experiment_id)
        if not tenant.id:
            tenant = await self._tenants.ensure_experiment(tenant, number)
        run = Run(
            run_id=new_uuid(),
            experiment_id=number,
            name=name,
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
        return self._reader.add_derived_tags(tenant, [run])[0]

    async def get(self, tenant: Tenant, run_id: str) -> Run:
        """The run with all that belongs to it."""
        (run,) = await self.get_many(tenant, [run_id])
        return run

    async def get_info(self, tenant: Tenant, run_id: str) -> Run:
        """The run without its params, tags, metrics, inputs and outputs."""
        async with self._database.read_pipeline(tenant) as connection:
            run = await repository.read_info(connection, tenant, run_uuid(run_id))
        if run is None:
            raise RunNotFoundError(run_id)
        return run

    async def locate(self, tenant: Tenant, run_id: str) -> RunLocation:
        """Where the run's artifacts are. Reads nothing else of the run; a deleted one has them."""
        async with self._database.read_pipeline(tenant) as connection:
            location = await repository.locate(connection, tenant, run_uuid(run_id))
        if location is None:
            raise RunNotFoundError(run_id)
        return location

    async def get_rendered(self, tenant: Tenant, run_id: str, render: Render) -> RenderedRun:
        """The run as `render` writes it, from the cache if the run has not changed."""
        number = run_uuid(run_id)
        version = await self._versions.submit(tenant, number)
        if version is None:
            raise RunNotFoundError(run_id)
        found, _ = await self._reader.rendered(tenant, [(number, version)], render)
        if not found:  # purged since its version was read
            raise RunNotFoundError(run_id)
        return found[0]

    async def get_many(self, tenant: Tenant, run_ids: Sequence[str]) -> list[Run]:
        """The runs in the order of the ids, with all that belongs to them.

        Raises RunNotFoundError for the first that does not exist, and TooLargeError where several
        runs are larger than a page.
        """
        ids = [run_uuid(run_id) for run_id in run_ids]
        runs = await self._reader.read(tenant, ids)
        if len(runs) < len(ids):
            found = {run.run_id for run in runs}
            raise RunNotFoundError(next(i.hex for i in ids if i not in found))
        return runs

    async def log(self, tenant: Tenant, write: RunWrite) -> None:
        """Log points, params and tags, all or nothing; returns once they are committed.

        Raises InvalidValueError naming the field at fault, RunNotActiveError, ConflictError for a
        param that was logged with another value, LoggedModelNotFoundError for a point's model,
        RateLimitedError where the day's quota of points is used up, and UnavailableError where too
        many writes are waiting.
        """
        check_write(write, self._max_value_length)
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
        field_names: FieldNames = WITHOUT_INDEX,
    ) -> Run:
        """Change an active run, and return what `get_info` returns then.

        `end_time` is in epoch milliseconds. Tags are merged with those of the run; a value of None
        deletes the tag. Raises RunNotActiveError, and InvalidValueError for a value that breaks a
        rule.
        """
        tags = dict(tags or {})
        check_tags(tags, field_names, self._max_value_length, cuts=True)
        if name:
            name = run_name(name, field_names.run_name, self._max_value_length)
        if end_time is not None:
            validation.int64(end_time, "end_time")
        number = run_uuid(run_id)
        given = {key: value for key, value in tags.items() if value is not None}
        deleted = [key for key, value in tags.items() if value is None]
        name_in_tag = given.pop(RUN_NAME_TAG, None)
        name = name or name_in_tag or None
        async with self._database.write_pipeline(tenant) as connection:
            await _lock_active(connection, tenant, run_id)
            await repository.update(
                connection, tenant, number, status=status, end_time=end_time, name=name
            )
            if status in ENDED_STATUSES:
                await repository.set_settled_values(connection, tenant, number)
            if deleted:
                await repository.delete_tags(connection, tenant, number, deleted)
            await _set_tags(connection, tenant, number, given)
            run = await repository.read_info(connection, tenant, number)
        assert run is not None
        return run

    async def delete(self, tenant: Tenant, run_id: str) -> None:
        """Soft-delete the run."""
        await self._set_deleted_time(tenant, run_id, now_ms())

    async def restore(self, tenant: Tenant, run_id: str) -> None:
        """Undo `delete`. Raises RunNotFoundError, too, for a run whose purge has begun."""
        await self._set_deleted_time(tenant, run_id, None)

    async def delete_tag(self, tenant: Tenant, run_id: str, key: str) -> None:
        """Delete a tag of an active run.

        Raises NotFoundError where there is no such tag, InvalidValueError for one that is derived,
        and RunNotActiveError.
        """
        validation.text(key, "key")
        validation.deletable(key, "key")
        async with self._database.write_pipeline(tenant) as connection:
            number = await _lock_active(connection, tenant, run_id)
            if key == RUN_NAME_TAG:
                deleted = await repository.hide_name_tag(connection, tenant, number)
            else:
                deleted = await repository.delete_tags(connection, tenant, number, [key])
            if await deleted.fetchone() is None:
                raise NotFoundError(f"No tag with name: {key} in run with id {run_id}", field="key")
            await repository.update(connection, tenant, number)

    async def record_logged_model(
        self, tenant: Tenant, run_id: str, model: Mapping[str, Any]
    ) -> None:
        """Append a model to the list in the tag `mlflow.log-model.history`, for MLflow 2's clients.

        Raises RunNotActiveError, ConflictError where the tag holds something else than a list, and
        InvalidValueError where it would get too long.
        """
        async with self._database.write_pipeline(tenant) as connection:
            number = await _lock_active(connection, tenant, run_id)
            tag = await repository.read_tag(connection, tenant, number, LOGGED_MODELS_TAG)
            value = json.dumps([*recorded_models("[]" if tag is None else tag), model])
            validation.text(value, "model_json.value", self._max_value_length)
            await _set_tags(connection, tenant, number, {LOGGED_MODELS_TAG: value})
            await repository.update(connection, tenant, number)

    async def _set_deleted_time(
        self, tenant: Tenant, run_id: str, deleted_time: int | None
    ) -> None:
        async with self._database.write_pipeline(tenant) as connection:
            number = run_uuid(run_id)
            if not await repository.set_deleted_time(connection, tenant, number, deleted_time):
                raise RunNotFoundError(run_id)
            action = "run.restore" if deleted_time is None else "run.delete"
            await trail.record(connection, tenant, action, run_id)


async def _lock_active(connection: Pipeline, tenant: Tenant, run_id: str) -> UUID:
    """Lock an active run until the commit. Raises RunNotFoundError and RunNotActiveError."""
    number = run_uuid(run_id)
    row = await repository.lock(connection, tenant, number)
    if row is None:
        raise RunNotFoundError(run_id)
    (deleted_time,) = row
    if deleted_time is not None:
        raise RunNotActiveError(run_id, deleted_time)
    return number


async def _set_tags(
    connection: Pipeline, tenant: Tenant, run_id: UUID, tags: Mapping[str, str]
) -> None:
    """Set tags of a run that is locked. Raises InvalidValueError where it would have too many."""
    if tags:
        await key_limits.check_tags(connection, tenant, run_id.hex, tags.keys())
        await repository.upsert_tags(connection, tenant, run_id, tags)
