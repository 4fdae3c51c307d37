"""What hangs on an entity in rows of its own: tags, params, metrics, datasets.

Each is looked up by the primary key of its table, entity by entity, and always within the tenant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Table,
    and_,
    literal_column,
    select,
    true,
)

from app.kernel.tenant import Tenant
from app.search.predicates import Predicate
from app.search.tables import datasets, input_tags, inputs, logged_model_metrics

# Where MLflow keeps what a dataset was used for: an input's tag.
DATASET_CONTEXT = "mlflow.data.context"


Owner = ColumnElement[Any]
Rows = Select[Any]

# Rows are only ever asked whether there are any.
_ANY: Rows = select(literal_column("1"))


@dataclass(frozen=True)
class Joined:
    """A table to join from the left, and the value that it then gives: null where there is none."""

    table: FromClause
    on: ColumnElement[bool]
    value: ColumnElement[Any]


class Attached(Protocol):
    """Keyed values of an entity, whose id is `owner`. `unique`: it has one row for a key."""

    @property
    def unique(self) -> bool: ...

    def rows(self, tenant: Tenant, owner: Owner, key: str, values: Sequence[Predicate]) -> Rows:
        """The entity's rows of `key` with a value of which all of `values` hold."""
        ...

    def joined(self, tenant: Tenant, owner: Owner, key: str) -> Joined:
        """The one value of `key`, to sort by."""
        ...


@dataclass(frozen=True)
class Pairs:
    """A table with one row for each key of an entity."""

    table: Table
    owner: str
    value: str
    unique = True

    def rows(self, tenant: Tenant, owner: Owner, key: str, values: Sequence[Predicate]) -> Rows:
        value = self.table.c[self.value]
        row = self._row(self.table, tenant, owner, key)
        return _ANY.where(row, *(holds(value) for holds in values))

    def joined(self, tenant: Tenant, owner: Owner, key: str) -> Joined:
        table = self.table.alias()
        return Joined(table, self._row(table, tenant, owner, key), table.c[self.value])

    def _row(
        self, table: FromClause, tenant: Tenant, owner: Owner, key: str
    ) -> ColumnElement[bool]:
        return and_(
            table.c.tenant_id == tenant.id, table.c[self.owner] == owner, table.c.key == key
        )


@dataclass(frozen=True)
class ModelMetrics:
    """A logged model's metrics: points of several runs and datasets, of which `only` count."""

    only: ColumnElement[bool] | None = None
    unique = False

    def rows(self, tenant: Tenant, owner: Owner, key: str, values: Sequence[Predicate]) -> Rows:
        table = logged_model_metrics
        return self.all(tenant, owner).where(
            table.c.key == key, *(holds(table.c.value) for holds in values)
        )

    def all(self, tenant: Tenant, owner: Owner) -> Rows:
        """Every metric that counts, whatever its key."""
        table = logged_model_metrics
        rows = _ANY.where(table.c.tenant_id == tenant.id, table.c.model_id == owner)
        return rows if self.only is None else rows.where(self.only)

    def joined(self, tenant: Tenant, owner: Owner, key: str) -> Joined:
        table = logged_model_metrics
        latest = (
            self.rows(tenant, owner, key, ())
            .with_only_columns(table.c.value)
            .order_by(table.c.timestamp.desc(), table.c.step.desc(), table.c.run_id)
            .limit(1)
            .lateral()
        )
        return Joined(latest, true(), latest.c.value)


@dataclass(frozen=True)
class RunDatasets:
    """The datasets that went into a run; a key is a field of theirs, or `context`."""

    unique = False

    def rows(self, tenant: Tenant, owner: Owner, key: str, values: Sequence[Predicate]) -> Rows:
        if key == "context":
            return _ANY.where(
                input_tags.c.tenant_id == tenant.id,
                input_tags.c.run_id == owner,
                input_tags.c.key == DATASET_CONTEXT,
                *(holds(input_tags.c.value) for holds in values),
            )
        return _ANY.where(
            inputs.c.tenant_id == tenant.id,
            inputs.c.run_id == owner,
            datasets.c.tenant_id == tenant.id,
            datasets.c.dataset_id == inputs.c.dataset_id,
            *(holds(datasets.c[key]) for holds in values),
        )

    def joined(self, tenant: Tenant, owner: Owner, key: str) -> Joined:
        raise NotImplementedError("a run has several datasets")
