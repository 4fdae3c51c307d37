"""The searches: from a request's arguments to a page.

All of them raise InvalidValueError, whose `field` is `filter`, `order_by`, `page_token` or the
name of another argument.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Text,
    and_,
    any_,
    false,
    literal,
    or_,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY

from app.kernel import validation
from app.kernel.errors import InvalidValueError
from app.kernel.lifecycle import ViewType
from app.kernel.tenant import TENANT_TAG, Tenant
from app.kernel.validation import INT64_MAX, INT64_MIN
from app.runs.index_scan import MetricOrder, RunWalk
from app.search.child_tables import ModelMetrics
from app.search.compiler import compiled, conditions, key_of
from app.search.entities import EXPERIMENTS, LOGGED_MODELS, RUNS, TENANT, Entity, Kind
from app.search.order_by import Term, check_count, ordering, terms
from app.search.page import Page, page
from app.search.parser import parse_filter, parse_order
from app.search.syntax_tree import Filter, Order
from app.search.tables import experiments, logged_model_metrics, logged_models, runs


@dataclass(frozen=True, slots=True)
class DatasetFilter:
    """Only a logged model's metrics on this dataset count; without a digest, on any of the name."""

    dataset_name: str
    dataset_digest: str | None = None


@dataclass(frozen=True, slots=True)
class ModelOrder:
    """An attribute, or `metrics.` and a key as it is, without quotes; of a metric, the latest."""

    field_name: str
    ascending: bool = True
    dataset_name: str | None = None
    dataset_digest: str | None = None


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
    """The runs of the experiments, or of all with None; their ids are UUIDs.

    Where the order leaves it open, the newest come first, then those with the lower run id.
    """
    entity = _with_tenant_tag(RUNS) if tenant_tag else RUNS
    ids = None if experiment_ids is None else _set(experiment_ids)
    where = [
        runs.c.tenant_id == tenant.id,
        *_in_view(runs.c.deleted_time, view),
        *_in_status(statuses),
    ]
    within = [] if ids is None else _of_experiments(runs.c.experiment_id, ids)
    found = compiled(tenant, entity, parse_filter(filter))
    check_count(order_by)
    orders = [parse_order(each) for each in order_by]
    order = ordering(
        tenant,
        [
            *terms(tenant, entity, orders),
            Term(entity.orders["start_time"], descending=True),
            Term(entity.orders["run_id"]),
        ],
    )
    by = _walked_order(entity, orders)
    walk = None if by is False else RunWalk(tenant, where, within, ids, found, by, order)
    return page(
        runs.c.run_id,
        runs,
        [*where, *within, *found.of(tenant, runs.c.run_id)],
        order,
        limit=limit,
        offset=offset,
        page_token=page_token,
        search=["runs", tenant.id, ids, filter, list(order_by), view, *statuses],
        also=[runs.c.version],
        way=walk if walk and walk.pays else None,
    )


def search_experiments(
    tenant: Tenant,
    *,
    filter: str = "",
    order_by: Sequence[str] = (),
    view: ViewType = "ACTIVE_ONLY",
    name_contains: str = "",
    limit: int,
    page_token: str | None = None,
    offset: int = 0,
    tenant_tag: bool = True,
) -> Page:
    """The experiments; `name_contains` ignores case. Without an order, the newest come first."""
    entity = _with_tenant_tag(EXPERIMENTS) if tenant_tag else EXPERIMENTS
    where = [
        experiments.c.tenant_id == tenant.id,
        *_in_view(experiments.c.deleted_time, view),
        *conditions(tenant, entity, parse_filter(filter)),
    ]
    if name_contains:
        validation.text(name_contains, "name_contains")
        where.append(experiments.c.name.icontains(name_contains, autoescape=True))
    # MLflow breaks ties by the id: upwards in its own order, downwards in the caller's.
    by_default = ("creation_time DESC", "experiment_id ASC")
    order = [
        *_terms(tenant, entity, order_by or by_default),
        Term(entity.orders["experiment_id"], descending=True),
    ]
    return page(
        experiments.c.experiment_id,
        experiments,
        where,
        ordering(tenant, order),
        limit=limit,
        offset=offset,
        page_token=page_token,
        search=["experiments", tenant.id, filter, list(order_by), view, name_contains],
    )


def search_logged_models(
    tenant: Tenant,
    experiment_ids: Sequence[int],
    *,
    filter: str = "",
    order_by: Sequence[ModelOrder] = (),
    datasets: Sequence[DatasetFilter] = (),
    limit: int,
    page_token: str | None = None,
    offset: int = 0,
) -> Page:
    """The logged models of the experiments that are not deleted.

    `datasets` restrict the metrics that the filter sees; where it sees none, the models are those
    with any metric on one of the datasets. The order is not touched by them.
    """
    tree = parse_filter(filter)
    metrics = ModelMetrics(_on_any(datasets)) if datasets else ModelMetrics()
    entity = replace(LOGGED_MODELS, attached={**LOGGED_MODELS.attached, Kind.METRIC: metrics})
    where = [
        logged_models.c.tenant_id == tenant.id,
        *_of_experiments(logged_models.c.experiment_id, experiment_ids),
        *_in_view(logged_models.c.deleted_time, "ACTIVE_ONLY"),
        *conditions(tenant, entity, tree),
    ]
    if datasets and not _names_metric(entity, tree):
        where.append(metrics.all(tenant, logged_models.c.model_id).exists())
    check_count(order_by)
    order = [
        *(_model_term(tenant, each) for each in order_by),
        Term(entity.orders["creation_time"], descending=True),
        Term(entity.orders["model_id"]),
    ]
    return page(
        logged_models.c.model_id,
        logged_models,
        where,
        ordering(tenant, order),
        limit=limit,
        offset=offset,
        page_token=page_token,
        search=[
            "logged_models",
            tenant.id,
            _set(experiment_ids),
            filter,
            [asdict(each) for each in order_by],
            [asdict(each) for each in datasets],
        ],
    )


def _with_tenant_tag(entity: Entity) -> Entity:
    return replace(entity, tags={**entity.tags, TENANT_TAG: TENANT})


def _terms(tenant: Tenant, entity: Entity, order_by: Sequence[str]) -> list[Term]:
    check_count(order_by)
    return terms(tenant, entity, [parse_order(each) for each in order_by])


def _walked_order(entity: Entity, orders: Sequence[Order]) -> MetricOrder | Literal[False] | None:
    """A metric, or None for the newest first; False where no index has the runs in this order."""
    if not orders:
        return None
    key = key_of(entity, orders[0].source, orders[0].identifier, order=True)
    if len(orders) > 1:
        return False
    if key.kind is Kind.METRIC:
        return MetricOrder(key.name, orders[0].descending)
    newest = key.attribute is entity.orders["start_time"] and orders[0].descending
    return None if newest else False


def _model_term(tenant: Tenant, order: ModelOrder) -> Term:
    name = order.field_name
    validation.text(name, "order_by", validation.MAX_KEY_LENGTH * 2)
    prefix, dot, metric = name.partition(".")
    if not dot:
        attribute = LOGGED_MODELS.orders.get(name.strip())
        if attribute is None:
            raise InvalidValueError(f"Invalid order by field name: {name}", field="order_by")
        return Term(attribute, not order.ascending)
    if prefix != "metrics":
        raise InvalidValueError(
            f"Invalid order by field name: {name}. Only metrics are supported.", field="order_by"
        )
    metrics = ModelMetrics(_on(order.dataset_name, order.dataset_digest, "order_by"))
    return Term(metrics.joined(tenant, logged_models.c.model_id, metric), not order.ascending)


def _names_metric(entity: Entity, tree: Filter) -> bool:
    keys = (key_of(entity, tree.source, each.identifier) for each in tree.comparisons)
    return any(key.kind is Kind.METRIC for key in keys)


def _on_any(datasets: Sequence[DatasetFilter]) -> ColumnElement[bool]:
    found = []
    for each in datasets:
        if not each.dataset_name:
            raise InvalidValueError(
                "`dataset_name` in the `datasets` clause must be specified.", field="datasets"
            )
        found.append(_on(each.dataset_name, each.dataset_digest, "datasets"))
    return or_(*found)


def _on(name: str | None, digest: str | None, field: str) -> ColumnElement[bool]:
    """That a metric is on the dataset, as far as one is named."""
    metric = logged_model_metrics.c
    parts = [(metric.dataset_name, name), (metric.dataset_digest, digest)]
    for _, value in parts:
        validation.text(value or "", field)
    return and_(true(), *(column == value for column, value in parts if value))


def _of_experiments(column: Column[int], ids: Sequence[int]) -> list[ColumnElement[bool]]:
    match _set(ids):
        case []:
            return [false()]
        case [one]:
            # With a plain equality the index gives the runs in order of their start.
            return [column == one]
        case many:
            return [column == any_(literal(many, ARRAY(BigInteger)))]


def _in_view(deleted_time: Column[Any], view: ViewType) -> list[ColumnElement[bool]]:
    match view:
        case "ACTIVE_ONLY":
            return [deleted_time.is_(None)]
        case "DELETED_ONLY":
            return [deleted_time.is_not(None)]
        case _:
            return []


def _in_status(statuses: Sequence[str]) -> list[ColumnElement[bool]]:
    if not statuses:
        return []
    for each in statuses:
        validation.text(each, "statuses")
    return [runs.c.status == any_(literal(list(statuses), ARRAY(Text)))]


def _set(ids: Sequence[int]) -> list[int]:
    """The ids once each, without those that no experiment can have."""
    return sorted({each for each in ids if INT64_MIN <= each <= INT64_MAX})
