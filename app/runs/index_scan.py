"""Index scan for searches of runs: an index has the runs in order, and the scan ends with the page.

Left to choose, Postgres joins and sorts all that matches, which takes a hundred times as long among
a hundred times as many runs. Here the statement prescribes the plan. It holds two plans, of which
Postgres runs one: the condition of the other is a count that is known before it starts.

- *Collect*: where the indexes on values name fewer than MAX_COLLECTED candidates, these runs are
  checked and sorted.
- *Scan*: otherwise runs are checked one by one, in order, until the page is full. The matches are
  not rare then, so that this is soon.

A scan in the order of a metric has parts, one behind the other. The first is the index on the
values of series at rest, beside the few series that are being logged to, which are sorted. Only if
these do not fill the page, the runs whose value is NaN follow, and then the runs without a value.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
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

from app.db.tables.base import table_of
from app.db.tables.metrics import MetricSeries
from app.db.tables.runs import Run
from app.kernel.tenant import Tenant
from app.runs.value_index import candidates, is_on_metric
from app.search.exists import CompiledFilter, ExistsCondition
from app.search.keyset import (
    Ordering,
    SortKey,
    inline_integer,
    order_by_columns,
    select_rows,
    sorts_after,
)

# To check so many runs takes some milliseconds.
MAX_COLLECTED = 1_000
# Up to so many experiments, the newest runs of each are merged.
MAX_MERGED = 50

_NAN = literal(math.nan, DOUBLE_PRECISION)
_INFINITY = literal(math.inf, DOUBLE_PRECISION)
_RUNS = table_of(Run)
_SERIES = table_of(MetricSeries).alias("ordered")
_SERIES_WITH_RUNS = _SERIES.join(
    _RUNS, and_(_RUNS.c.tenant_id == _SERIES.c.tenant_id, _RUNS.c.run_id == _SERIES.c.run_id)
)
_NEWEST_FIRST = (
    SortKey(_RUNS.c.start_time, int, descending=True),
    SortKey(_RUNS.c.run_id, UUID),
)


@dataclass(frozen=True)
class MetricOrder:
    """By the latest values of a metric. Ties are broken as by the order `newest`."""

    key: str
    descending: bool


@dataclass(frozen=True)
class RunIndexScan:
    """A search of runs by an index scan.

    `where` binds the runs to the tenant and to the other arguments, `in_experiments` to the
    experiments with the ids `experiment_ids`; with None there is no such bound. `order` is the one
    of the index, `newest` that by start time. `ordering` is the same order as sort keys.
    """

    tenant: Tenant
    where: Sequence[ColumnElement[bool]]
    in_experiments: Sequence[ColumnElement[bool]]
    experiment_ids: Sequence[int] | None
    filter: CompiledFilter
    order: MetricOrder | Literal["newest"]
    ordering: Ordering

    @property
    def is_cheaper(self) -> bool:
        """Whether Postgres by itself would not find as cheap a plan."""
        merges = self.experiment_ids is not None and 1 < len(self.experiment_ids) <= MAX_MERGED
        return (
            self.order != "newest"
            or candidates(self.tenant, self.filter.exists) is not None
            or (merges and not self.filter.exists)
        )

    def statement(self, after: Sequence[Any] | None, count: int) -> Select[Any]:
        """The first `count` rows of run id, sort keys and the run's version; with `after`, those
        behind the row with these sort keys."""
        found = candidates(self.tenant, self.filter.exists)
        if found is None:
            parts = self._scan([], after, count)
        else:
            few = found.run_ids.limit(inline_integer(MAX_COLLECTED)).cte("few")
            size = select(func.count()).select_from(few).scalar_subquery()
            parts = [
                *self._scan([size >= inline_integer(MAX_COLLECTED)], after, count),
                self._collect(
                    few, size < inline_integer(MAX_COLLECTED), found.conditions, after, count
                ),
            ]
        merged = union_all(*(select(part) for part in parts)).subquery()
        names = [merged.c[f"key_{n}"] for n in range(len(self.ordering.keys))]
        return (
            select(merged)
            .order_by(*order_by_columns(self.ordering.keys, names))
            .limit(inline_integer(count))
        )

    def _collect(
        self,
        few: CTE,
        is_few: ColumnElement[bool],
        met: Sequence[ExistsCondition],
        after: Sequence[Any] | None,
        count: int,
    ) -> FromClause:
        """The candidates that meet all conditions; they are known to meet those of `met`."""
        table = few.join(_RUNS, _RUNS.c.run_id == few.c.run_id)
        unmet = self.filter.without(met).where(few.c.run_id, max_joined=0)
        statement = select_rows(
            _RUNS.c.run_id,
            self.ordering.join(table),
            [is_few, *self.where, *self.in_experiments, *unmet],
            self.ordering.keys,
            extra_columns=[_RUNS.c.version],
            after=after,
        )
        return statement.limit(inline_integer(count)).subquery()

    def _scan(
        self, is_many: Sequence[ColumnElement[bool]], after: Sequence[Any] | None, count: int
    ) -> list[FromClause]:
        """The parts of a scan, which reads nothing unless the conditions `is_many` hold."""
        if self.order == "newest":
            return [self._newest([*is_many, *self._conditions(_RUNS.c.run_id)], (), after, count)]
        # The sort keys of this order are a rank, the value, and then those of the newest runs.
        rank, after_rank = (0, None) if after is None else (after[0], after[1:])
        values: list[CTE] = []
        if rank == 0:
            settled, last = _SERIES.c.settled_value, _SERIES.c.last_value
            at_rest, logged_to = [*is_many, settled.is_not(None)], [*is_many, settled.is_(None)]
            values = [
                self._by_value(self.order, settled, at_rest, after_rank, count).cte("settled"),
                self._by_value(self.order, last, logged_to, after_rank, count).cte("unsettled"),
            ]
        sizes = [select(func.count()).select_from(each).scalar_subquery() for each in values]
        is_short = [*is_many, *([sizes[0] + sizes[1] < inline_integer(count)] if sizes else [])]
        parts: list[FromClause] = [*values]
        if rank <= 1:
            after_nan = after[2:] if after is not None and rank == 1 else None
            parts.append(self._nan(self.order, is_short, after_nan, count).subquery())
        if not self._requires_metric(self.order.key):
            after_newest = after[2:] if after is not None and rank == 2 else None
            is_absent = ~(
                select(_SERIES.c.run_id)
                .where(
                    _SERIES.c.tenant_id == self.tenant.id,
                    _SERIES.c.run_id == _RUNS.c.run_id,
                    _SERIES.c.key == self.order.key,
                )
                .offset(0)
                .exists()
            )
            where = [*is_short, is_absent, *self._conditions(_RUNS.c.run_id)]
            parts.append(self._newest(where, (2, 0.0), after_newest, count))
        return parts

    # --- the parts of a scan ----------------------------------------------------------------

    def _by_value(
        self,
        order: MetricOrder,
        value: Column[float],
        where: Sequence[ColumnElement[bool]],
        after: Sequence[Any] | None,
        count: int,
    ) -> Select[Any]:
        """Runs in the order of a column of the series, without NaN."""
        keys = (SortKey(value, float, order.descending), *_NEWEST_FIRST)
        is_number = value <= _INFINITY  # Postgres sorts NaN above it
        where = [*where, is_number, *self._series_conditions(order, value)]
        return self._part(_SERIES_WITH_RUNS, where, (0,), keys, after, count)

    def _nan(
        self,
        order: MetricOrder,
        where: Sequence[ColumnElement[bool]],
        after: Sequence[Any] | None,
        count: int,
    ) -> Select[Any]:
        """Runs whose latest value is NaN, newest first."""
        settled, last = _SERIES.c.settled_value, _SERIES.c.last_value
        is_nan = [or_(settled == _NAN, settled.is_(None)), last == _NAN]
        where = [*where, *is_nan, *self._series_conditions(order, last)]
        return self._part(_SERIES_WITH_RUNS, where, (1, 0.0), _NEWEST_FIRST, after, count)

    def _newest(
        self,
        where: Sequence[ColumnElement[bool]],
        constant_keys: Sequence[float],
        after: Sequence[Any] | None,
        count: int,
    ) -> FromClause:
        """Runs, newest first: of several experiments, the newest of each one, merged."""
        where = [*self.where, *where]
        experiment_ids = self.experiment_ids or ()
        if not 1 < len(experiment_ids) <= MAX_MERGED:
            where += self.in_experiments
            return self._part(_RUNS, where, constant_keys, _NEWEST_FIRST, after, count).subquery()
        experiments = (
            func.unnest(literal(list(experiment_ids), ARRAY(BigInteger)))
            .table_valued(column("experiment_id", BigInteger))
            .render_derived()
        )
        where.append(_RUNS.c.experiment_id == experiments.c.experiment_id)
        newest = self._part(_RUNS, where, constant_keys, _NEWEST_FIRST, after, count).lateral()
        return select(newest).select_from(experiments.join(newest, true())).subquery()

    def _part(
        self,
        table: FromClause,
        where: Sequence[ColumnElement[bool]],
        constant_keys: Sequence[float],
        keys: Sequence[SortKey],
        after: Sequence[Any] | None,
        count: int,
    ) -> Select[Any]:
        """Rows with the sort keys of the whole order, the first of which are constants."""
        columns = [
            *(literal(number) for number in constant_keys),
            *(key.expression for key in keys),
        ]
        labelled = [each.label(f"key_{n}") for n, each in enumerate(columns)]
        statement = (
            select(_RUNS.c.run_id, *labelled, _RUNS.c.version).select_from(table).where(*where)
        )
        if after is not None:
            statement = statement.where(sorts_after(keys, after))
        order_by = order_by_columns(keys, labelled[len(constant_keys) :])
        return statement.order_by(*order_by).limit(inline_integer(count))

    # --- conditions -------------------------------------------------------------------------

    def _series_conditions(
        self, order: MetricOrder, value: Column[float]
    ) -> list[ColumnElement[bool]]:
        """That a series is of the metric to order by, and that it and its run meet the filter."""
        on_value = [
            condition
            for condition in self.filter.exists
            if is_on_metric(condition) and condition.key == order.key
        ]
        return [
            _SERIES.c.tenant_id == self.tenant.id,
            _SERIES.c.key == order.key,
            *(predicate(value) for condition in on_value for predicate in condition.predicates),
            *self.where,
            *self.in_experiments,
            *self.filter.without(on_value).where(_SERIES.c.run_id, max_joined=0),
        ]

    def _conditions(self, run_id: Column[Any]) -> list[ColumnElement[bool]]:
        return self.filter.where(run_id, max_joined=0)

    def _requires_metric(self, key: str) -> bool:
        """Whether the filter leaves out runs without the metric."""
        return any(
            is_on_metric(condition) and condition.key == key for condition in self.filter.exists
        )
