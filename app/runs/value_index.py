"""Sets of runs that the indexes on values name, for the conditions of a filter that have one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, Table, and_, func, select, union_all

from app.db.tables.runs import MAX_INDEXED_BYTES
from app.kernel.tenant import Tenant
from app.search.child_tables import Pairs
from app.search.exists import MAX_JOINED, Lookup
from app.search.page import constant
from app.search.tables import metric_series, params, run_tags


@dataclass(frozen=True)
class Source:
    """The ids of the runs that have all of what some look-ups ask for."""

    runs: Select[Any]
    lookups: Sequence[Lookup]


def source_of(tenant: Tenant, lookups: Sequence[Lookup]) -> Source | None:
    """The runs that have the texts asked for, or else those with values of a metric."""
    texts = [each for each in lookups if _is_text(each)][:MAX_JOINED]
    if texts:
        return Source(_with_texts(tenant, texts), texts)
    for each in lookups:
        if is_metric(each):
            return Source(_with_metric(tenant, each), [each])
    return None


def is_metric(lookup: Lookup) -> bool:
    return _table(lookup) is metric_series


def _is_text(lookup: Lookup) -> bool:
    return (
        lookup.equal is not None
        and len(lookup.equal.encode()) <= MAX_INDEXED_BYTES
        and _table(lookup) in (params, run_tags)
    )


def _table(lookup: Lookup) -> Table | None:
    return lookup.attached.table if isinstance(lookup.attached, Pairs) else None


def _with_texts(tenant: Tenant, lookups: Sequence[Lookup]) -> Select[Any]:
    """The indexes have the runs of a text in the order of their ids: they are merged, and the merge
    stops at a limit."""
    tables = [found.alias() for each in lookups if (found := _table(each)) is not None]
    first = tables[0]
    statement = select(first.c.run_id)
    for table, lookup in zip(tables, lookups, strict=True):
        statement = statement.where(
            table.c.tenant_id == tenant.id,
            table.c.key == lookup.key,
            *(holds(table.c.value) for holds in lookup.values),
            func.octet_length(table.c.value) <= constant(MAX_INDEXED_BYTES),
        )
        if table is not first:
            statement = statement.where(table.c.run_id == first.c.run_id)
    return statement


def _with_metric(tenant: Tenant, lookup: Lookup) -> Select[Any]:
    series = metric_series.alias()
    of_key = and_(series.c.tenant_id == tenant.id, series.c.key == lookup.key)
    settled, last = series.c.settled_value, series.c.last_value
    at_rest = select(series.c.run_id).where(
        of_key, settled.is_not(None), *(holds(settled) for holds in lookup.values)
    )
    logged_to = select(series.c.run_id).where(
        of_key, settled.is_(None), *(holds(last) for holds in lookup.values)
    )
    return select(union_all(at_rest, logged_to).subquery())
