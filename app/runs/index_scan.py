"""Runs found by walking an index in the order that is asked for, until the page is full.

Left to choose, Postgres joins and sorts all that matches, which takes a hundred times as long among
a hundred times as many runs. Here the statement says how to go about it, in two ways, of which
one is run: the other's condition is a count that is known before it begins.

- *Collected*: where fewer than FEW runs have what the filter asks for, the indexes on values name
  them; they are checked and sorted.
- *Walked*: otherwise runs are checked one by one, in order, until there are enough. What matches
  is not rare then, so that is soon.

A walk in the order of a metric has parts, one behind the other. First the values, by the index on
series at rest, and beside it the few series that are being logged to, which are sorted. Only where
these do not fill the page come the runs whose value is NaN, and then those that have none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    Select,
    and_,
    column,
    func,
    literal,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION

from app.kernel.tenant import Tenant
from app.runs.value_index import is_metric, source_of
from app.search.exists import Conditions, Lookup
from app.search.order_by import Ordering, SortKey
from app.search.page import behind, constant, in_order, rows
from app.search.tables import metric_series, runs

# To check so many runs takes some milliseconds.
FEW = 1_000
# The newest of several experiments are the newest of each, merged.
MAX_MERGED = 50

_NAN = literal(math.nan, DOUBLE_PRECISION)
_INFINITY = literal(math.inf, DOUBLE_PRECISION)
_SERIES = metric_series.alias("ordered")
_OF_SERIES = _SERIES.join(
    runs, and_(runs.c.tenant_id == _SERIES.c.tenant_id, runs.c.run_id == _SERIES.c.run_id)
)
_NEWEST = (SortKey(runs.c.start_time, int, descending=True), SortKey(runs.c.run_id, UUID))


@dataclass(frozen=True)
class MetricOrder:
    """By the latest values of a metric, then as if there were no order."""

    key: str
    descending: bool


@dataclass(frozen=True)
class RunWalk:
    """A search of runs, newest first or in the order of a metric.

    `where` binds the runs to the tenant, `within` to the `experiments`; with None there are no
    experiments to be bound to. `ordering` is the same order as the plain search has it.
    """

    tenant: Tenant
    where: Sequence[ColumnElement[bool]]
    within: Sequence[ColumnElement[bool]]
    experiments: Sequence[int] | None
    conditions: Conditions
    order: MetricOrder | None
    ordering: Ordering

    @property
    def pays(self) -> bool:
        """Whether Postgres would not find as good a way by itself."""
        merged = self.experiments is not None and 1 < len(self.experiments) <= MAX_MERGED
        return (
            self.order is not None
            or source_of(self.tenant, self.conditions.lookups) is not None
            or (merged and not self.conditions.lookups)
        )

    def __call__(self, after: Sequence[Any] | None, count: int) -> Select[Any]:
        source = source_of(self.tenant, self.conditions.lookups)
        if source is None:
            parts = self._walk([], after, count)
        else:
            few = source.runs.limit(constant(FEW)).cte("few")
            size = select(func.count()).select_from(few).scalar_subquery()
            parts = [
                *self._walk([size >= constant(FEW)], after, count),
                self._collect(few, size < constant(FEW), source.lookups, after, count),
            ]
        merged = union_all(*(select(each) for each in parts)).subquery()
        names = [merged.c[f"key_{n}"] for n in range(len(self.ordering.keys))]
        return select(merged).order_by(*in_order(self.ordering.keys, names)).limit(constant(count))

    def _collect(
        self,
        few: CTE,
        is_few: ColumnElement[bool],
        known: Sequence[Lookup],
        after: Sequence[Any] | None,
        count: int,
    ) -> FromClause:
        """Of the runs that are few, those of which all holds, and not only what is `known`."""
        table = few.join(runs, runs.c.run_id == few.c.run_id)
        unknown = self._without(known).of(self.tenant, few.c.run_id, joined=0)
        statement = rows(
            runs.c.run_id,
            self.ordering.join(table),
            [is_few, *self.where, *self.within, *unknown],
            self.ordering.keys,
            also=[runs.c.version],
            after=after,
        )
        return statement.limit(constant(count)).subquery()

    def _walk(
        self, many: Sequence[ColumnElement[bool]], after: Sequence[Any] | None, count: int
    ) -> list[FromClause]:
        if self.order is None:
            return [self._newest([*many, *self._of(runs.c.run_id)], (), after, count)]
        # The keys of this order are a rank, the value, and then those of the newest.
        rank, behind_rank = (0, None) if after is None else (after[0], after[1:])
        head: list[CTE] = []
        if rank == 0:
            settled, last = _SERIES.c.settled_value, _SERIES.c.last_value
            at_rest, logged_to = [*many, settled.is_not(None)], [*many, settled.is_(None)]
            head = [
                self._by_value(self.order, settled, at_rest, behind_rank, count).cte("settled"),
                self._by_value(self.order, last, logged_to, behind_rank, count).cte("unsettled"),
            ]
        sizes = [select(func.count()).select_from(each).scalar_subquery() for each in head]
        short = [*many, *([sizes[0] + sizes[1] < constant(count)] if sizes else [])]
        parts: list[FromClause] = [*head]
        if rank <= 1:
            behind_nan = after[2:] if after is not None and rank == 1 else None
            parts.append(self._nan(self.order, short, behind_nan, count).subquery())
        if not self._asks_for(self.order.key):
            behind_newest = after[2:] if after is not None and rank == 2 else None
            absent = ~(
                select(_SERIES.c.run_id)
                .where(
                    _SERIES.c.tenant_id == self.tenant.id,
                    _SERIES.c.run_id == runs.c.run_id,
                    _SERIES.c.key == self.order.key,
                )
                .offset(0)
                .exists()
            )
            where = [*short, absent, *self._of(runs.c.run_id)]
            parts.append(self._newest(where, (2, 0.0), behind_newest, count))
        return parts

    # --- the parts of a walk ----------------------------------------------------------------

    def _by_value(
        self,
        order: MetricOrder,
        value: Column[float],
        where: Sequence[ColumnElement[bool]],
        after: Sequence[Any] | None,
        count: int,
    ) -> Select[Any]:
        keys = (SortKey(value, float, order.descending), *_NEWEST)
        where = [*where, value <= _INFINITY, *self._of_series(order, value)]  # NaN is above it
        return self._part(_OF_SERIES, where, (0,), keys, after, count)

    def _nan(
        self,
        order: MetricOrder,
        where: Sequence[ColumnElement[bool]],
        after: Sequence[Any] | None,
        count: int,
    ) -> Select[Any]:
        settled, last = _SERIES.c.settled_value, _SERIES.c.last_value
        nan = [*where, or_(settled == _NAN, settled.is_(None)), last == _NAN]
        where = [*nan, *self._of_series(order, last)]
        return self._part(_OF_SERIES, where, (1, 0.0), _NEWEST, after, count)

    def _newest(
        self,
        where: Sequence[ColumnElement[bool]],
        fixed: Sequence[float],
        after: Sequence[Any] | None,
        count: int,
    ) -> FromClause:
        where = [*self.where, *where]
        experiments = self.experiments or ()
        if not 1 < len(experiments) <= MAX_MERGED:
            where += self.within
            return self._part(runs, where, fixed, _NEWEST, after, count).subquery()
        each = (
            func.unnest(literal(list(experiments), ARRAY(BigInteger)))
            .table_valued(column("experiment_id", BigInteger))
            .render_derived()
        )
        where.append(runs.c.experiment_id == each.c.experiment_id)
        its_newest = self._part(runs, where, fixed, _NEWEST, after, count).lateral()
        return select(its_newest).select_from(each.join(its_newest, true())).subquery()

    def _part(
        self,
        table: FromClause,
        where: Sequence[ColumnElement[bool]],
        fixed: Sequence[float],
        keys: Sequence[SortKey],
        after: Sequence[Any] | None,
        count: int,
    ) -> Select[Any]:
        """Rows of the same sort keys as every part's, the first of which are `fixed`."""
        columns = [
            *(literal(number) for number in fixed),
            *(key.expression for key in keys),
        ]
        labelled = [each.label(f"key_{n}") for n, each in enumerate(columns)]
        statement = (
            select(runs.c.run_id, *labelled, runs.c.version).select_from(table).where(*where)
        )
        if after is not None:
            statement = statement.where(behind(keys, after))
        return statement.order_by(*in_order(keys, labelled[len(fixed) :])).limit(constant(count))

    # --- conditions -------------------------------------------------------------------------

    def _of_series(self, order: MetricOrder, value: Column[float]) -> list[ColumnElement[bool]]:
        """That the series is of the metric, and what must hold of it and of its run."""
        lookups = self.conditions.lookups
        own = [each for each in lookups if is_metric(each) and each.key == order.key]
        return [
            _SERIES.c.tenant_id == self.tenant.id,
            _SERIES.c.key == order.key,
            *(holds(value) for each in own for holds in each.values),
            *self.where,
            *self.within,
            *self._without(own).of(self.tenant, _SERIES.c.run_id, joined=0),
        ]

    def _of(self, owner: Column[Any]) -> list[ColumnElement[bool]]:
        return self.conditions.of(self.tenant, owner, joined=0)

    def _asks_for(self, metric: str) -> bool:
        return any(is_metric(each) and each.key == metric for each in self.conditions.lookups)

    def _without(self, known: Sequence[Lookup]) -> Conditions:
        lookups = [each for each in self.conditions.lookups if each not in known]
        return replace(self.conditions, lookups=lookups)
