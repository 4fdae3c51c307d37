"""Candidate runs from the indexes on values, for the conditions of a filter that have an index."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, Table, and_, func, select, union_all

from app.db.tables.base import table_of
from app.db.tables.metrics import MetricSeries
from app.db.tables.runs import MAX_INDEXED_BYTES, Param, RunTag
from app.kernel.tenant import Tenant
from app.search.child_tables import KeyValueChildTable
from app.search.exists import MAX_JOINED, ExistsCondition
from app.search.keyset import inline_integer

_SERIES, _PARAMS, _TAGS = table_of(MetricSeries), table_of(Param), table_of(RunTag)


@dataclass(frozen=True)
class Candidates:
    """The ids of the runs that meet some conditions of a filter."""

    run_ids: Select[Any]
    conditions: Sequence[ExistsCondition]


def candidates(tenant: Tenant, conditions: Sequence[ExistsCondition]) -> Candidates | None:
    """The runs that meet the conditions on equal texts, or else the first one on a metric.

    None where the filter has neither.
    """
    by_text = [condition for condition in conditions if _is_indexed_text(condition)][:MAX_JOINED]
    if by_text:
        return Candidates(_with_texts(tenant, by_text), by_text)
    for condition in conditions:
        if is_on_metric(condition):
            return Candidates(_with_metric(tenant, condition), [condition])
    return None


def is_on_metric(condition: ExistsCondition) -> bool:
    return _table(condition) is _SERIES


def _is_indexed_text(condition: ExistsCondition) -> bool:
    return (
        condition.equal_text is not None
        and len(condition.equal_text.encode()) <= MAX_INDEXED_BYTES
        and _table(condition) in (_PARAMS, _TAGS)
    )


def _table(condition: ExistsCondition) -> Table | None:
    child_table = condition.child_table
    return child_table.table if isinstance(child_table, KeyValueChildTable) else None


def _with_texts(tenant: Tenant, conditions: Sequence[ExistsCondition]) -> Select[Any]:
    """The runs that have all texts.

    Each index has the runs of a text in the order of their ids, so that Postgres merges them and
    stops at a limit.
    """
    tables = [found.alias() for each in conditions if (found := _table(each)) is not None]
    first = tables[0]
    statement = select(first.c.run_id)
    for table, condition in zip(tables, conditions, strict=True):
        statement = statement.where(
            table.c.tenant_id == tenant.id,
            table.c.key == condition.key,
            *(predicate(table.c.value) for predicate in condition.predicates),
            func.octet_length(table.c.value) <= inline_integer(MAX_INDEXED_BYTES),
        )
        if table is not first:
            statement = statement.where(table.c.run_id == first.c.run_id)
    return statement


def _with_metric(tenant: Tenant, condition: ExistsCondition) -> Select[Any]:
    """The runs whose latest value of the metric meets the condition."""
    series = _SERIES.alias()
    of_key = and_(series.c.tenant_id == tenant.id, series.c.key == condition.key)
    settled, last = series.c.settled_value, series.c.last_value
    at_rest = select(series.c.run_id).where(
        of_key, settled.is_not(None), *(predicate(settled) for predicate in condition.predicates)
    )
    logged_to = select(series.c.run_id).where(
        of_key, settled.is_(None), *(predicate(last) for predicate in condition.predicates)
    )
    return select(union_all(at_rest, logged_to).subquery())
