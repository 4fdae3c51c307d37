"""Keyset pagination: rows in a total order, from behind the row with given sort keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    and_,
    literal,
    literal_column,
    or_,
    select,
)

from app.search.child_tables import ChildJoin


@dataclass(frozen=True)
class SortKey:
    """A column to order by, never null and never NaN; `type` is that of its values in Python."""

    expression: ColumnElement[Any]
    type: type
    descending: bool = False


@dataclass(frozen=True)
class Ordering:
    """The sort keys, the last of which is unique, and the joins that they need."""

    keys: tuple[SortKey, ...]
    joins: tuple[ChildJoin, ...] = ()

    def join(self, table: FromClause) -> FromClause:
        for join in self.joins:
            table = table.outerjoin(join.table, join.on)
        return table


def select_rows(
    id: ColumnElement[Any],
    table: FromClause,
    where: Sequence[ColumnElement[bool]],
    keys: Sequence[SortKey],
    *,
    extra_columns: Sequence[ColumnElement[Any]] = (),
    after: Sequence[Any] | None = None,
) -> Select[Any]:
    """Rows of id, sort keys and extra columns, in order; with `after`, those that sort behind the
    row with these values of the keys."""
    columns = [key.expression.label(f"key_{n}") for n, key in enumerate(keys)]
    statement = select(id, *columns, *extra_columns).select_from(table).where(*where)
    if after is not None:
        statement = statement.where(sorts_after(keys, after))
    return statement.order_by(*order_by_columns(keys, columns))


def order_by_columns(
    keys: Sequence[SortKey], columns: Sequence[ColumnElement[Any]]
) -> list[ColumnElement[Any]]:
    """The columns that hold the keys, each in its key's direction."""
    return [
        column.desc() if key.descending else column
        for key, column in zip(keys, columns, strict=True)
    ]


def sorts_after(keys: Sequence[SortKey], values: Sequence[Any]) -> ColumnElement[bool]:
    """That a row sorts behind the one with these values of the keys.

    Written as `a <= x AND (a < x OR b > y)` instead of `a < x OR (a = x AND b > y)`: the first
    half is a bound at which Postgres can start an index scan.
    """
    key, value = keys[0], literal(values[0], keys[0].expression.type)
    strictly = key.expression < value if key.descending else key.expression > value
    if len(keys) == 1:
        return strictly
    at_most = key.expression <= value if key.descending else key.expression >= value
    return and_(at_most, or_(strictly, sorts_after(keys[1:], values[1:])))


def inline_integer(number: int) -> ColumnElement[int]:
    """A number in the text of the statement, not a parameter: a LIMIT that the planner knows."""
    return literal_column(str(int(number)))
