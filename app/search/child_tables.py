"""Child tables of an entity: tags, params, metrics and datasets in rows of their own.

A row is looked up by the primary key of its table, for one owner at a time and within the tenant.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import ColumnElement, FromClause, Select, Table, and_, literal_column, select

from app.kernel.tenant import Tenant
from app.search.predicates import Predicate

OwnerId = ColumnElement[Any]
Rows = Select[Any]

SELECT_ONE: Rows = select(literal_column("1"))
"""For an EXISTS, which does not read what its rows hold."""


@dataclass(frozen=True)
class ChildJoin:
    """A child table to LEFT JOIN, and the value to sort by: null where there is no row."""

    table: FromClause
    on: ColumnElement[bool]
    value: ColumnElement[Any]


class ChildTable(Protocol):
    """Keyed values of an entity."""

    @property
    def unique(self) -> bool:
        """Whether an entity has at most one row of a key."""
        ...

    @property
    def keys(self) -> Collection[str] | None:
        """The keys that exist; None where any text may be one."""
        ...

    def rows(
        self, tenant: Tenant, owner_id: OwnerId, key: str, predicates: Sequence[Predicate]
    ) -> Rows:
        """The owner's rows of `key` whose value meets all predicates."""
        ...

    def join(self, tenant: Tenant, owner_id: OwnerId, key: str) -> ChildJoin:
        """The owner's value of `key`, to sort by."""
        ...


@dataclass(frozen=True)
class KeyValueChildTable:
    """A child table with one row for each key of an owner."""

    table: Table
    owner_column: str
    value_column: str
    unique = True
    keys = None

    def rows(
        self, tenant: Tenant, owner_id: OwnerId, key: str, predicates: Sequence[Predicate]
    ) -> Rows:
        value = self.table.c[self.value_column]
        row = self._row(self.table, tenant, owner_id, key)
        return SELECT_ONE.where(row, *(predicate(value) for predicate in predicates))

    def join(self, tenant: Tenant, owner_id: OwnerId, key: str) -> ChildJoin:
        table = self.table.alias()
        row = self._row(table, tenant, owner_id, key)
        return ChildJoin(table, row, table.c[self.value_column])

    def _row(
        self, table: FromClause, tenant: Tenant, owner_id: OwnerId, key: str
    ) -> ColumnElement[bool]:
        return and_(
            table.c.tenant_id == tenant.id,
            table.c[self.owner_column] == owner_id,
            table.c.key == key,
        )
