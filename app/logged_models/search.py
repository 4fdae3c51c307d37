"""Searches of logged models: what filters and orders may name, and the statement of a page."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from sqlalchemy import ColumnElement, and_, case, or_, true

from app.db.tables.base import table_of
from app.db.tables.logged_models import (
    LoggedModel,
    LoggedModelMetric,
    LoggedModelParam,
    LoggedModelTag,
)
from app.kernel import validation
from app.kernel.errors import InvalidValueError
from app.kernel.tenant import Tenant
from app.search.child_tables import SELECT_ONE, ChildJoin, KeyValueChildTable, OwnerId, Rows
from app.search.compiler import compile_filter
from app.search.fields import resolve
from app.search.order_by import SortTerm, check_count, ordering
from app.search.page import Page, build_page
from app.search.parser import parse_filter
from app.search.predicates import MEMBERSHIP, ORDERING, PATTERN, Predicate
from app.search.schema import EntitySchema, ErrorMessages, FieldKind, attribute, by_name
from app.search.scope import distinct_ids, in_view, with_id
from app.search.syntax_tree import Filter

_MODELS = table_of(LoggedModel)
_METRICS = table_of(LoggedModelMetric)


@dataclass(frozen=True, slots=True)
class DatasetFilter:
    """Restricts a model's metrics to those on a dataset; without a digest, on any of the name."""

    dataset_name: str
    dataset_digest: str | None = None


@dataclass(frozen=True, slots=True)
class ModelOrder:
    """An order by an attribute, or by the latest value of a metric.

    `field_name` is an attribute, or `metrics.` and a key without quotes. The dataset restricts the
    metric's points.
    """

    field_name: str
    ascending: bool = True
    dataset_name: str | None = None
    dataset_digest: str | None = None


@dataclass(frozen=True)
class ModelMetrics:
    """A logged model's metrics as a child table: points of several runs and datasets, restricted to
    those that meet the condition."""

    condition: ColumnElement[bool] | None = None
    unique = False
    keys = None

    def rows(
        self, tenant: Tenant, owner_id: OwnerId, key: str, predicates: Sequence[Predicate]
    ) -> Rows:
        return self.rows_of_any_key(tenant, owner_id).where(
            _METRICS.c.key == key, *(predicate(_METRICS.c.value) for predicate in predicates)
        )

    def rows_of_any_key(self, tenant: Tenant, owner_id: OwnerId) -> Rows:
        rows = SELECT_ONE.where(_METRICS.c.tenant_id == tenant.id, _METRICS.c.model_id == owner_id)
        return rows if self.condition is None else rows.where(self.condition)

    def join(self, tenant: Tenant, owner_id: OwnerId, key: str) -> ChildJoin:
        latest = (
            self.rows(tenant, owner_id, key, ())
            .with_only_columns(_METRICS.c.value)
            .order_by(_METRICS.c.timestamp.desc(), _METRICS.c.step.desc(), _METRICS.c.run_id)
            .limit(1)
            .lateral()
        )
        return ChildJoin(latest, true(), latest.c.value)


# As MLflow's client names the statuses.
_STATUS_NAMES = {
    "LOGGED_MODEL_PENDING": "PENDING",
    "LOGGED_MODEL_READY": "READY",
    "LOGGED_MODEL_UPLOAD_FAILED": "FAILED",
}

# The names of these columns in MLflow's tables may be used too, and are those that errors show.
_CREATED = attribute("creation_timestamp_ms", _MODELS.c.creation_time, "integer")
_UPDATED = attribute("last_updated_timestamp_ms", _MODELS.c.last_updated_time, "integer")
_ATTRIBUTES = {
    **by_name(
        attribute("model_id", _MODELS.c.model_id),
        attribute("name", _MODELS.c.name),
        attribute("model_type", _MODELS.c.model_type),
        attribute("source_run_id", _MODELS.c.source_run_id),
        attribute("status", case(_STATUS_NAMES, value=_MODELS.c.status, else_="UNSPECIFIED")),
        attribute("experiment_id", _MODELS.c.experiment_id, "experiment_id"),
        _CREATED,
        _UPDATED,
    ),
    **dict.fromkeys(("creation_time", "creation_timestamp"), _CREATED),
    **dict.fromkeys(("last_updated_time", "last_updated_timestamp"), _UPDATED),
}

_INVALID_OPERATOR = (
    "Invalid comparison operator for {kind}.{key}: '{comparator}'. Expected one of ({allowed})."
)

LOGGED_MODELS = EntitySchema(
    id=_MODELS.c.model_id,
    prefixes={
        "attributes": FieldKind.ATTRIBUTE,
        "metrics": FieldKind.METRIC,
        "params": FieldKind.PARAM,
        "tags": FieldKind.TAG,
    },
    attributes=_ATTRIBUTES,
    # In MLflow's tables the statuses are numbers, in the order of these names.
    sort_attributes={**_ATTRIBUTES, "status": attribute("status", _MODELS.c.status)},
    child_tables={
        FieldKind.METRIC: ModelMetrics(),
        FieldKind.PARAM: KeyValueChildTable(table_of(LoggedModelParam), "model_id", "value"),
        FieldKind.TAG: KeyValueChildTable(table_of(LoggedModelTag), "model_id", "value"),
    },
    comparators={
        FieldKind.METRIC: ORDERING,
        FieldKind.PARAM: PATTERN | MEMBERSHIP,
        FieldKind.TAG: PATTERN | MEMBERSHIP,
    },
    listable=frozenset(_ATTRIBUTES),
    messages=ErrorMessages(
        unknown_prefix="Invalid entity type: '{prefix}'."
        " Expected one of ['attributes', 'metrics', 'params', 'tags'].",
        comparator=_INVALID_OPERATOR,
        nullness=_INVALID_OPERATOR,
    ),
    unquoted=True,
    comparator_first=True,
)

_NEWEST_FIRST = (SortTerm(_CREATED, descending=True), SortTerm(_ATTRIBUTES["model_id"]))


def search_logged_models(
    tenant: Tenant,
    experiment_ids: Sequence[int],
    *,
    filter: str = "",
    order_by: Sequence[ModelOrder] = (),
    datasets: Sequence[DatasetFilter] = (),
    limit: int,
    page_token: str | None = None,
) -> Page:
    """A page of the experiments' logged models, deleted ones excluded.

    The rows are model id and sort keys. Ties of the order are broken by creation time, the newest
    first, and then by model id. `datasets` restrict the metrics that the filter compares, not those
    of the order; where the filter names no metric, the models are those with any metric on one of
    the datasets. Raises InvalidValueError, whose `field` is `filter`, `order_by`, `datasets` or
    `page_token`.
    """
    tree = parse_filter(filter)
    metrics = ModelMetrics(_on_any(datasets)) if datasets else ModelMetrics()
    schema = replace(
        LOGGED_MODELS, child_tables={**LOGGED_MODELS.child_tables, FieldKind.METRIC: metrics}
    )
    ids = distinct_ids(experiment_ids)
    where = [
        _MODELS.c.tenant_id == tenant.id,
        *with_id(_MODELS.c.experiment_id, ids),
        *in_view(_MODELS.c.deleted_time, "ACTIVE_ONLY"),
        *compile_filter(tenant, schema, tree).where(schema.id),
    ]
    if datasets and not _names_metric(schema, tree):
        where.append(metrics.rows_of_any_key(tenant, schema.id).exists())
    check_count(order_by)
    return build_page(
        schema.id,
        _MODELS,
        where,
        ordering(tenant, [*(_sort_term(tenant, order) for order in order_by), *_NEWEST_FIRST]),
        limit=limit,
        page_token=page_token,
        search=[
            "logged_models",
            tenant.id,
            ids,
            filter,
            [asdict(order) for order in order_by],
            [asdict(dataset) for dataset in datasets],
        ],
    )


def _sort_term(tenant: Tenant, order: ModelOrder) -> SortTerm:
    name = order.field_name
    validation.text(name, "order_by", validation.MAX_KEY_LENGTH * 2)
    prefix, dot, metric = name.partition(".")
    if not dot:
        attribute = LOGGED_MODELS.sort_attributes.get(name.strip())
        if attribute is None:
            raise InvalidValueError(f"Invalid order by field name: {name}", field="order_by")
        return SortTerm(attribute, not order.ascending)
    if prefix != "metrics":
        raise InvalidValueError(
            f"Invalid order by field name: {name}. Only metrics are supported.", field="order_by"
        )
    metrics = ModelMetrics(_on_dataset(order.dataset_name, order.dataset_digest, "order_by"))
    return SortTerm(metrics.join(tenant, LOGGED_MODELS.id, metric), not order.ascending)


def _names_metric(schema: EntitySchema, tree: Filter) -> bool:
    return any(
        resolve(schema, tree.source, comparison.identifier).kind is FieldKind.METRIC
        for comparison in tree.comparisons
    )


def _on_any(datasets: Sequence[DatasetFilter]) -> ColumnElement[bool]:
    """That a metric is on one of the datasets."""
    conditions = []
    for dataset in datasets:
        if not dataset.dataset_name:
            raise InvalidValueError(
                "`dataset_name` in the `datasets` clause must be specified.", field="datasets"
            )
        conditions.append(_on_dataset(dataset.dataset_name, dataset.dataset_digest, "datasets"))
    return or_(*conditions)


def _on_dataset(name: str | None, digest: str | None, field: str) -> ColumnElement[bool]:
    """That a metric is on the dataset; what is None or empty is not compared."""
    parts = [(_METRICS.c.dataset_name, name), (_METRICS.c.dataset_digest, digest)]
    for _, value in parts:
        validation.text(value or "", field)
    return and_(true(), *(column == value for column, value in parts if value))
