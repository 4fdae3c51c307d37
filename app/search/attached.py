"""What hangs on an entity in rows of its own: tags, params, metrics, datasets.

Each is looked up by the primary key of its table, entity by entity, and always within the tenant.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Column, ColumnElement, FromClause, Table, exists, select, true

from app.search.predicates import Predicate
from app.search.tables import datasets, input_tags, inputs, logged_model_metrics
from app.tenancy.tenant import Tenant

# Where MLflow keeps what a dataset was used for: an input's tag.
DATASET_CONTEXT = "mlflow.data.context"


@dataclass(frozen=True)
class Joined:
    """A table to join from the left, and the value that it then gives: null where there is none."""

    table: FromClause
    on: ColumnElement[bool]
    value: ColumnElement[Any]


class Attached(Protocol):
    """Keyed values of an entity, whose id is `owner`."""

    def having(
        self, tenant: Tenant, owner: ColumnElement[Any], key: str, predicate: Predicate | None
    ) -> ColumnElement[bool]:
        """That the entity has `key`, with a value of which `predicate` holds."""
        ...

    def joined(self, tenant: Tenant, owner: ColumnElement[Any], key: str) -> Joined:
        """The one value of `key`, to sort by."""
        ...


@dataclass(frozen=True)
class Pairs:
    """A table with one row for each key of an entity."""

    table: Table
    owner: str
    value: str

    def having(
        self, tenant: Tenant, owner: ColumnElement[Any], key: str, predicate: Predicate | None
    ) -> ColumnElement[bool]:
        found = exists().where(self._row(self.table, tenant, owner, key))
        return found.where(predicate(self.table.c[self.value])) if predicate else found

    def joined(self, tenant: Tenant, owner: ColumnElement[Any], key: str) -> Joined:
        table = self.table.alias()
        return Joined(table, self._row(table, tenant, owner, key), table.c[self.value])

    def _row(
        self, table: FromClause, tenant: Tenant, owner: ColumnElement[Any], key: str
    ) -> ColumnElement[bool]:
        return (
            (table.c.tenant_id == tenant.id) & (table.c[self.owner] == owner) & (table.c.key == key)
        )


@dataclass(frozen=True)
class ModelMetrics:
    """A logged model's metrics: points of several runs and datasets, of which `only` count."""

    only: ColumnElement[bool] | None = None

    def having(
        self, tenant: Tenant, owner: ColumnElement[Any], key: str, predicate: Predicate | None
    ) -> ColumnElement[bool]:
        table = logged_model_metrics
        found = exists().where(self._rows(tenant, owner), table.c.key == key)
        return found.where(predicate(table.c.value)) if predicate else found

    def any(self, tenant: Tenant, owner: ColumnElement[Any]) -> ColumnElement[bool]:
        """That the model has any metric that counts."""
        return exists().where(self._rows(tenant, owner))

    def joined(self, tenant: Tenant, owner: ColumnElement[Any], key: str) -> Joined:
        table = logged_model_metrics
        latest = (
            select(table.c.value)
            .where(self._rows(tenant, owner), table.c.key == key)
            .order_by(table.c.timestamp.desc(), table.c.step.desc(), table.c.run_id)
            .limit(1)
            .lateral()
        )
        return Joined(latest, true(), latest.c.value)

    def _rows(self, tenant: Tenant, owner: ColumnElement[Any]) -> ColumnElement[bool]:
        table = logged_model_metrics
        rows = (table.c.tenant_id == tenant.id) & (table.c.model_id == owner)
        return rows if self.only is None else rows & self.only


@dataclass(frozen=True)
class RunDatasets:
    """The datasets that went into a run; a key is a field of theirs, or `context`."""

    def having(
        self, tenant: Tenant, owner: ColumnElement[Any], key: str, predicate: Predicate | None
    ) -> ColumnElement[bool]:
        assert predicate is not None
        if key == "context":
            return exists().where(
                input_tags.c.tenant_id == tenant.id,
                input_tags.c.run_id == owner,
                input_tags.c.key == DATASET_CONTEXT,
                predicate(input_tags.c.value),
            )
        value: Column[Any] = datasets.c[key]
        return exists().where(
            inputs.c.tenant_id == tenant.id,
            inputs.c.run_id == owner,
            datasets.c.tenant_id == tenant.id,
            datasets.c.dataset_id == inputs.c.dataset_id,
            predicate(value),
        )

    def joined(self, tenant: Tenant, owner: ColumnElement[Any], key: str) -> Joined:
        raise NotImplementedError("a run has several datasets")
