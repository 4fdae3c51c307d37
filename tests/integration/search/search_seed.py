"""Rows to search, written as the tables hold them."""

import itertools
import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

from sqlalchemy import Connection, delete, text
from sqlalchemy.dialects.postgresql import insert

from app.db.tables.base import Base, table_of
from app.db.tables.experiments import Experiment, ExperimentTag
from app.db.tables.logged_models import (
    LoggedModel,
    LoggedModelMetric,
    LoggedModelParam,
    LoggedModelTag,
)
from app.db.tables.metrics import MetricSeries
from app.db.tables.runs import Dataset, Input, InputTag, Param, Run, RunTag
from app.kernel.tenant import Tenant
from app.search.page import Page


def new_tenant(connection: Connection) -> Tenant:
    """A tenant in whose name the connection then reads and writes."""
    slug = f"search-{secrets.token_hex(6)}"
    with connection.begin():
        id = connection.scalar(text("SELECT create_tenant(:slug)"), {"slug": slug})
        connection.execute(text("SELECT set_config('app.tenant_id', :id, false)"), {"id": str(id)})
        # Every tenant is born with an experiment.
        connection.execute(delete(Experiment))
    assert isinstance(id, int)
    return Tenant(id, slug)


class Seed:
    def __init__(self, connection: Connection, tenant: Tenant) -> None:
        self.connection = connection
        self.tenant = tenant
        self._series = itertools.count(1)

    def experiment(
        self,
        experiment_id: int,
        name: str,
        *,
        tags: Mapping[str, str] | None = None,
        artifact_location: str | None = None,
        creation_time: int = 0,
        last_update_time: int = 0,
        deleted: bool = False,
    ) -> int:
        self._insert(
            Experiment,
            experiment_id=experiment_id,
            name=name,
            artifact_location=artifact_location,
            creation_time=creation_time,
            last_update_time=last_update_time,
            deleted_time=1 if deleted else None,
        )
        self._pairs(ExperimentTag, tags, experiment_id=experiment_id)
        return experiment_id

    def run(
        self,
        name: str,
        *,
        experiment_id: int = 1,
        run_id: UUID | None = None,
        start_time: int = 0,
        end_time: int | None = None,
        status: str = "FINISHED",
        user_id: str = "",
        deleted: bool = False,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        datasets: Sequence[tuple[str, str, str | None]] = (),
    ) -> UUID:
        """`datasets` are (name, digest, context). Every other series is at rest."""
        run_id = run_id or uuid4()
        self._insert(
            Run,
            run_id=run_id,
            experiment_id=experiment_id,
            name=name,
            user_id=user_id,
            status=status,
            start_time=start_time,
            end_time=end_time,
            deleted_time=1 if deleted else None,
        )
        for key, value in (metrics or {}).items():
            series_id = next(self._series)
            self._insert(
                MetricSeries,
                series_id=series_id,
                run_id=run_id,
                key=key,
                last_step=0,
                last_timestamp=0,
                last_value=value,
                settled_value=value if series_id % 2 else None,
                max_timestamp=0,
                point_count=1,
            )
        self._pairs(Param, params, run_id=run_id)
        self._pairs(RunTag, tags, run_id=run_id)
        for dataset in datasets:
            self._input(run_id, experiment_id, *dataset)
        return run_id

    def model(
        self,
        model_id: str,
        *,
        experiment_id: int = 1,
        name: str = "model",
        model_type: str | None = None,
        source_run_id: str | None = None,
        status: str = "LOGGED_MODEL_READY",
        creation_time: int = 0,
        last_updated_time: int = 0,
        deleted: bool = False,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        metrics: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """`metrics` are rows: run_id, key, value, timestamp, step, dataset_name, dataset_digest."""
        self._insert(
            LoggedModel,
            model_id=model_id,
            experiment_id=experiment_id,
            name=name,
            model_type=model_type,
            source_run_id=source_run_id,
            status=status,
            creation_time=creation_time,
            last_updated_time=last_updated_time,
            deleted_time=1 if deleted else None,
        )
        self._pairs(LoggedModelParam, params, model_id=model_id)
        self._pairs(LoggedModelTag, tags, model_id=model_id)
        for metric in metrics:
            row = {"timestamp": 0, "step": 0, **metric}
            self._insert(LoggedModelMetric, model_id=model_id, **row)
        return model_id

    def rows(self, page: Page) -> list[Any]:
        with self.connection.begin():
            return list(self.connection.execute(page.statement).all())

    def ids(self, page: Page) -> list[Any]:
        return page.split(self.rows(page))[0]

    def count(self, page: Page) -> int:
        with self.connection.begin():
            return self.connection.execute(page.count).scalar_one()

    def _input(
        self, run_id: UUID, experiment_id: int, name: str, digest: str, context: str | None
    ) -> None:
        dataset_id = uuid5(NAMESPACE_OID, f"{experiment_id} {name} {digest}")
        self._insert(
            Dataset,
            new=False,
            dataset_id=dataset_id,
            experiment_id=experiment_id,
            name=name,
            digest=digest,
            source_type="",
            source="",
        )
        self._insert(Input, run_id=run_id, dataset_id=dataset_id)
        if context is not None:
            tags = {"mlflow.data.context": context}
            self._pairs(InputTag, tags, run_id=run_id, dataset_id=dataset_id)

    def _pairs(self, model: type[Base], pairs: Mapping[str, str] | None, **owner: Any) -> None:
        for key, value in (pairs or {}).items():
            self._insert(model, key=key, value=value, **owner)

    def _insert(self, model: type[Base], *, new: bool = True, **values: Any) -> None:
        statement = insert(table_of(model)).values(tenant_id=self.tenant.id, **values)
        with self.connection.begin():
            self.connection.execute(statement if new else statement.on_conflict_do_nothing())
