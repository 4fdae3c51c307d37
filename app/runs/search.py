"""Searches of runs: what filters and orders may name, and the statement of a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, Text, any_, case, cast, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY

from app.db.tables.base import table_of
from app.db.tables.experiments import Experiment
from app.db.tables.metrics import MetricSeries
from app.db.tables.runs import Dataset, Input, InputTag, Param, Run, RunTag
from app.kernel import validation
from app.kernel.artifact_uris import ARTIFACT_SCHEME
from app.kernel.lifecycle import ViewType
from app.kernel.tenant import Tenant
from app.runs.entities import RUN_NAME_TAG
from app.runs.index_scan import MetricOrder, RunIndexScan
from app.runs.inputs import CONTEXT_TAG
from app.search.child_tables import SELECT_ONE, ChildJoin, KeyValueChildTable, OwnerId, Rows
from app.search.compiler import compile_filter
from app.search.fields import resolve
from app.search.order_by import SortTerm, ordering, parse_orders, sort_terms
from app.search.page import Page, build_page
from app.search.parser import parse_filter
from app.search.predicates import (
    MEMBERSHIP,
    NULLNESS,
    ORDERING,
    PATTERN,
    Predicate,
    run_id_text,
)
from app.search.schema import (
    Attribute,
    EntitySchema,
    ErrorMessages,
    FieldKind,
    attribute,
    by_name,
    with_tenant_tag,
)
from app.search.scope import distinct_ids, in_view, with_id
from app.search.syntax_tree import Order

_RUNS = table_of(Run)
_EXPERIMENTS = table_of(Experiment)
_DATASETS = table_of(Dataset)
_INPUTS = table_of(Input)
_INPUT_TAGS = table_of(InputTag)


@dataclass(frozen=True)
class RunDatasets:
    """The datasets of a run's inputs as a child table. A key is a column of the dataset, or
    `context`, which is a tag of the input."""

    unique = False
    keys = ("context", "digest", "name")

    def rows(
        self, tenant: Tenant, owner_id: OwnerId, key: str, predicates: Sequence[Predicate]
    ) -> Rows:
        if key == "context":
            return SELECT_ONE.where(
                _INPUT_TAGS.c.tenant_id == tenant.id,
                _INPUT_TAGS.c.run_id == owner_id,
                _INPUT_TAGS.c.key == CONTEXT_TAG,
                *(predicate(_INPUT_TAGS.c.value) for predicate in predicates),
            )
        return SELECT_ONE.where(
            _INPUTS.c.tenant_id == tenant.id,
            _INPUTS.c.run_id == owner_id,
            _DATASETS.c.tenant_id == tenant.id,
            _DATASETS.c.dataset_id == _INPUTS.c.dataset_id,
            *(predicate(_DATASETS.c[key]) for predicate in predicates),
        )

    def join(self, tenant: Tenant, owner_id: OwnerId, key: str) -> ChildJoin:
        raise NotImplementedError("a run has several datasets, so there is no order by them")


def _artifact_uri(tenant: Tenant) -> ColumnElement[str]:
    """`app.kernel.artifact_uris.run_artifact_uri`, in SQL."""
    location = (
        select(func.rtrim(func.nullif(_EXPERIMENTS.c.artifact_location, ""), "/"))
        .where(
            _EXPERIMENTS.c.tenant_id == tenant.id,
            _EXPERIMENTS.c.experiment_id == _RUNS.c.experiment_id,
        )
        .scalar_subquery()
    )
    served = func.concat(
        f"{ARTIFACT_SCHEME}experiments/", cast(_RUNS.c.experiment_id, Text), "/runs"
    )
    return func.concat(
        func.coalesce(location, served), "/", run_id_text(_RUNS.c.run_id), "/artifacts"
    )


# As in MLflow, runs are found by the tag that shows their name, which may have been deleted.
_SHOWN_NAME = case((_RUNS.c.has_name_tag, _RUNS.c.name))
_RUN_NAME = Attribute("run_name", lambda tenant: _SHOWN_NAME, "text", nullable=True)
_START_TIME = attribute("start_time", _RUNS.c.start_time, "integer")
_SORT_ATTRIBUTES = {
    **by_name(
        attribute("run_id", _RUNS.c.run_id, "run_id"),
        _RUN_NAME,
        attribute("user_id", _RUNS.c.user_id),
        attribute("status", _RUNS.c.status),
        _START_TIME,
        attribute("end_time", _RUNS.c.end_time, "integer"),
        attribute("artifact_uri", _artifact_uri),
    ),
    **dict.fromkeys(("created", "Created"), _START_TIME),
}

RUNS = EntitySchema(
    id=_RUNS.c.run_id,
    prefixes={
        **dict.fromkeys(("attribute", "attributes", "attr", "run"), FieldKind.ATTRIBUTE),
        **dict.fromkeys(("metric", "metrics"), FieldKind.METRIC),
        **dict.fromkeys(("parameter", "parameters", "param", "params"), FieldKind.PARAM),
        **dict.fromkeys(("tag", "tags"), FieldKind.TAG),
        **dict.fromkeys(("dataset", "datasets"), FieldKind.DATASET),
    },
    attributes={
        **_SORT_ATTRIBUTES,
        **dict.fromkeys(("run name", "Run name", "Run Name"), _RUN_NAME),
    },
    sort_attributes=_SORT_ATTRIBUTES,
    child_tables={
        FieldKind.METRIC: KeyValueChildTable(table_of(MetricSeries), "run_id", "last_value"),
        FieldKind.PARAM: KeyValueChildTable(table_of(Param), "run_id", "value"),
        FieldKind.TAG: KeyValueChildTable(table_of(RunTag), "run_id", "value"),
        FieldKind.DATASET: RunDatasets(),
    },
    comparators={
        FieldKind.METRIC: ORDERING,
        FieldKind.PARAM: PATTERN | NULLNESS,
        FieldKind.TAG: PATTERN | NULLNESS,
        FieldKind.DATASET: PATTERN | MEMBERSHIP,
    },
    listable=frozenset({"run_id"}),
    messages=ErrorMessages(
        unknown_prefix="Invalid entity type '{prefix}'."
        " Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']",
        comparator="Invalid comparator '{comparator}' not one of '{{{allowed}}}'",
        nullness="IS NULL / IS NOT NULL is only supported for tags and params,"
        " not for '{kind}' '{written}'",
        unsortable="Invalid identifier type '{kind}'",
    ),
    sortable_kinds=frozenset({FieldKind.METRIC, FieldKind.PARAM, FieldKind.TAG}),
    derived_tags={RUN_NAME_TAG: _RUN_NAME},
    repeatable_orders=False,
)
_RUNS_WITH_TENANT_TAG = with_tenant_tag(RUNS)

_NEWEST_FIRST = (
    SortTerm(RUNS.sort_attributes["start_time"], descending=True),
    SortTerm(RUNS.sort_attributes["run_id"]),
)


def search_runs(
    tenant: Tenant,
    experiment_ids: Sequence[int] | None,
    *,
    filter: str = "",
    order_by: Sequence[str] = (),
    view: ViewType = "ACTIVE_ONLY",
    statuses: Sequence[str] = (),
    limit: int,
    page_token: str | None = None,
    offset: int = 0,
    tenant_tag: bool = True,
) -> Page:
    """A page of the runs of the experiments, or with None of all experiments.

    The rows are run id, sort keys, and the run's version. Ties of the order are broken by start
    time, the newest first, and then by run id. `tenant_tag` tells whether runs have the derived tag
    of their tenant. Raises InvalidValueError, whose `field` is `filter`, `order_by`, `statuses` or
    `page_token`.
    """
    schema = _RUNS_WITH_TENANT_TAG if tenant_tag else RUNS
    ids = None if experiment_ids is None else distinct_ids(experiment_ids)
    where = [
        _RUNS.c.tenant_id == tenant.id,
        *in_view(_RUNS.c.deleted_time, view),
        *_with_status(statuses),
    ]
    in_experiments = [] if ids is None else with_id(_RUNS.c.experiment_id, ids)
    conditions = compile_filter(tenant, schema, parse_filter(filter))
    orders = parse_orders(order_by)
    order = ordering(tenant, [*sort_terms(tenant, schema, orders), *_NEWEST_FIRST])
    scan_order = _index_order(schema, orders)
    scan = None
    if scan_order != "none":
        scan = RunIndexScan(tenant, where, in_experiments, ids, conditions, scan_order, order)
    return build_page(
        _RUNS.c.run_id,
        _RUNS,
        [*where, *in_experiments, *conditions.where(_RUNS.c.run_id)],
        order,
        limit=limit,
        offset=offset,
        page_token=page_token,
        search=["runs", tenant.id, ids, filter, list(order_by), view, *statuses],
        extra_columns=[_RUNS.c.version],
        index_scan=scan.statement if scan and scan.is_cheaper else None,
    )


def _index_order(
    schema: EntitySchema, orders: Sequence[Order]
) -> MetricOrder | Literal["newest", "none"]:
    """The order in which an index has the runs, if that is the one asked for."""
    if not orders:
        return "newest"
    if len(orders) > 1:
        return "none"
    field = resolve(schema, orders[0].source, orders[0].identifier, order=True)
    if field.kind is FieldKind.METRIC:
        return MetricOrder(field.name, orders[0].descending)
    by_start = field.attribute is schema.sort_attributes["start_time"]
    return "newest" if by_start and orders[0].descending else "none"


def _with_status(statuses: Sequence[str]) -> list[ColumnElement[bool]]:
    if not statuses:
        return []
    for status in statuses:
        validation.text(status, "statuses")
    return [_RUNS.c.status == any_(literal(list(statuses), ARRAY(Text)))]
