"""Service of logged models, with the rules of MLflow 3.17's SQL store."""

from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from app.audit import trail
from app.db.database import Database
from app.experiments import repository as experiments
from app.kernel import validation
from app.kernel.artifact_uris import ModelLocation
from app.kernel.clock import now_ms
from app.kernel.errors import (
    ConflictError,
    ExperimentNotActiveError,
    ExperimentNotFoundError,
    InvalidValueError,
    LoggedModelNotFoundError,
    NotFoundError,
)
from app.kernel.ids import is_model_id, new_model_id, parse_experiment_id
from app.kernel.memory_budget import MemoryBudget
from app.kernel.random_names import random_name
from app.kernel.tenant import TENANT_TAG, Tenant
from app.logged_models import repository
from app.logged_models.entities import LoggedModel, Status
from app.logged_models.search import DatasetFilter, ModelOrder, search_logged_models
from app.search.page_sizes import cut_page, fetch_rows
from app.tenants.lookup import TenantLookup

MAX_NAME_LENGTH = 500
MAX_MODEL_TYPE_LENGTH = 500
MAX_SOURCE_RUN_ID_LENGTH = 32
MAX_KEY_LENGTH = 255
# MLflow's column is a TEXT, which on MySQL, its database with the shortest, has this length.
MAX_VALUE_LENGTH = 65_535

_FORBIDDEN_IN_NAME = ("/", ":", ".", "%", '"', "'")


class LoggedModels:
    """Every method raises LoggedModelNotFoundError for a model that the tenant does not have.

    As in MLflow, a soft-deleted model can be changed, but it is not read unless asked for.
    """

    def __init__(self, database: Database, memory: MemoryBudget, tenants: TenantLookup) -> None:
        self._database = database
        self._memory = memory
        self._tenants = tenants

    async def create(
        self,
        tenant: Tenant,
        experiment_id: str,
        *,
        name: str = "",
        model_type: str = "",
        source_run_id: str = "",
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> LoggedModel:
        """Create a pending model in an active experiment. An empty name becomes a random one.

        `source_run_id` is stored as it is, whether or not the run exists. Raises
        ExperimentNotFoundError and ExperimentNotActiveError.
        """
        params, tags = params or {}, dict(tags or {})
        _check_name(name)
        validation.text(model_type, "model_type", MAX_MODEL_TYPE_LENGTH)
        validation.text(source_run_id, "source_run_id", MAX_SOURCE_RUN_ID_LENGTH)
        _check_pairs("params", params)
        _check_tags(tags)
        number = parse_experiment_id(experiment_id)
        if number is None:
            raise ExperimentNotFoundError(experiment_id)
        tenant = await self._tenants.ensure_experiment(tenant, number)
        model_id = new_model_id()
        now = now_ms()
        async with self._database.write(tenant) as connection:
            await _lock_active_experiment(connection, tenant, number)
            await repository.create(
                connection,
                tenant,
                model_id=model_id,
                experiment_id=number,
                name=name or random_name(),
                model_type=model_type,
                source_run_id=source_run_id,
                status="LOGGED_MODEL_PENDING",
                creation_time=now,
                last_updated_time=now,
            )
            await repository.PARAMS.set(connection, tenant, model_id, params)
            await repository.TAGS.set(connection, tenant, model_id, tags)
            (model,) = await repository.get(connection, tenant, [model_id])
        return model

    async def get(
        self, tenant: Tenant, model_id: str, *, allow_deleted: bool = False
    ) -> LoggedModel:
        async with self._database.read(tenant) as connection:
            found = await repository.get(connection, tenant, [_model_id(model_id)])
        if not found or (found[0].deleted_time is not None and not allow_deleted):
            raise LoggedModelNotFoundError(model_id)
        return found[0]

    async def locate(self, tenant: Tenant, model_id: str) -> ModelLocation:
        """Where the model's artifacts are. Reads nothing else of the model; a deleted one is not
        found."""
        async with self._database.read(tenant) as connection:
            location = await repository.locate(connection, tenant, _model_id(model_id))
        if location is None:
            raise LoggedModelNotFoundError(model_id)
        return location

    async def search(
        self,
        tenant: Tenant,
        experiment_ids: Sequence[str],
        *,
        filter: str = "",
        order_by: Sequence[ModelOrder] = (),
        datasets: Sequence[DatasetFilter] = (),
        limit: int,
        page_token: str | None = None,
    ) -> tuple[list[LoggedModel], str | None]:
        """A page of models, newest first unless ordered otherwise, and the token of the next page.

        `datasets` restrict the metrics that the filter compares.
        """
        page = search_logged_models(
            tenant,
            # A text that no experiment can have as its id matches no model.
            [
                number
                for text in experiment_ids
                if (number := parse_experiment_id(text)) is not None
            ],
            filter=filter,
            order_by=order_by,
            datasets=datasets,
            limit=limit,
            page_token=page_token,
        )
        async with self._database.read(tenant) as connection:
            rows = await fetch_rows(connection, page)
            ids, token = await cut_page(
                self._memory, connection, tenant, page, rows, *repository.CHILD_TABLES
            )
            return await repository.get(connection, tenant, ids), token

    async def finalize(self, tenant: Tenant, model_id: str, status: Status) -> LoggedModel:
        """Set the status after the upload of the artifacts, and return the model."""
        async with self._database.write(tenant) as connection:
            await self._change(connection, tenant, model_id, status=status)
            (model,) = await repository.get(connection, tenant, [model_id])
        return model

    async def delete(self, tenant: Tenant, model_id: str) -> None:
        """Soft-delete the model; `get` with `allow_deleted` still finds it."""
        async with self._database.write(tenant) as connection:
            await self._change(connection, tenant, model_id, deleted_time=now_ms())
            await trail.record(connection, tenant, "logged_model.delete", model_id)

    async def set_tags(self, tenant: Tenant, model_id: str, tags: Mapping[str, str]) -> None:
        tags = dict(tags)
        _check_tags(tags)
        async with self._database.write(tenant) as connection:
            await self._lock(connection, tenant, model_id)
            await repository.TAGS.set(connection, tenant, model_id, tags)

    async def delete_tag(self, tenant: Tenant, model_id: str, key: str) -> None:
        """Delete a tag. Raises NotFoundError where the model does not have it."""
        validation.text(key, "tag_key")
        async with self._database.write(tenant) as connection:
            await self._lock(connection, tenant, model_id)
            if not await repository.TAGS.delete(connection, tenant, model_id, [key]):
                raise NotFoundError(
                    f"No tag with key {key!r} found for model with ID {model_id!r}.",
                    field="tag_key",
                )

    async def log_params(self, tenant: Tenant, model_id: str, params: Mapping[str, str]) -> None:
        """Add params, all or none. A param that the model has with the same value is skipped.

        Raises ConflictError for a param that the model has with another value.
        """
        _check_pairs("params", params)
        async with self._database.write(tenant) as connection:
            await self._lock(connection, tenant, model_id)
            stored = await repository.PARAMS.add(connection, tenant, model_id, params)
            for key, value in params.items():
                if stored[key] != value:
                    raise ConflictError(
                        "Changing param values is not allowed. Param with key="
                        f"'{key}' was already logged with value='{stored[key]}' for model ID="
                        f"'{model_id}'. Attempted logging new value '{value}'.",
                        field=f"params.{key}",
                    )

    async def _lock(self, connection: AsyncConnection, tenant: Tenant, model_id: str) -> None:
        if not await repository.lock(connection, tenant, _model_id(model_id)):
            raise LoggedModelNotFoundError(model_id)

    async def _change(
        self, connection: AsyncConnection, tenant: Tenant, model_id: str, **values: object
    ) -> None:
        changed = await repository.change(
            connection, tenant, _model_id(model_id), last_updated_time=now_ms(), **values
        )
        if not changed:
            raise LoggedModelNotFoundError(model_id)


async def _lock_active_experiment(connection: AsyncConnection, tenant: Tenant, number: int) -> None:
    """Lock an experiment, so that it stays active until the transaction ends."""
    row = await experiments.lock(connection, tenant, number, share=True)
    if row is None:
        raise ExperimentNotFoundError(str(number))
    if row.deleted_time is not None:
        raise ExperimentNotActiveError(str(number), row.deleted_time)


def _model_id(model_id: str) -> str:
    """The id, if a model can have it. Others are refused here, since they may hold characters that
    Postgres cannot store."""
    if not is_model_id(model_id):
        raise LoggedModelNotFoundError(model_id)
    return model_id


def _check_name(name: str) -> None:
    if any(character in name for character in _FORBIDDEN_IN_NAME):
        raise InvalidValueError(
            f"Invalid model name ({name!r}) provided. Model name must be a non-empty string"
            f" and cannot contain the following characters: {_FORBIDDEN_IN_NAME}",
            field="name",
        )
    validation.text(name, "name", MAX_NAME_LENGTH)


def _check_tags(tags: dict[str, str]) -> None:
    """Also drops the tag that is derived from the tenant."""
    _check_pairs("tags", tags)
    tags.pop(TENANT_TAG, None)


def _check_pairs(field: str, pairs: Mapping[str, str]) -> None:
    """Unlike those of runs, keys are any text."""
    for index, (key, value) in enumerate(pairs.items()):
        if not key:
            raise validation.invalid(f"{field}[{index}].key", key, "A key name must be provided.")
        validation.text(key, f"{field}[{index}].key", MAX_KEY_LENGTH)
        validation.text(value, f"{field}[{index}].value", MAX_VALUE_LENGTH)
