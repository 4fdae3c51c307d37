"""Searches of experiments: what filters and orders may name, and the statement of a page."""

from collections.abc import Sequence
from dataclasses import replace

from app.db.tables.base import table_of
from app.db.tables.experiments import Experiment, ExperimentTag
from app.experiments.first_experiment import with_first_experiment
from app.kernel import validation
from app.kernel.lifecycle import ViewType
from app.kernel.tenant import Tenant
from app.search.child_tables import KeyValueChildTable
from app.search.compiler import compile_filter
from app.search.order_by import SortTerm, ordering, parse_orders, sort_terms
from app.search.page import Page, build_page
from app.search.parser import parse_filter
from app.search.predicates import NULLNESS, PATTERN
from app.search.schema import (
    EntitySchema,
    ErrorMessages,
    FieldKind,
    attribute,
    by_name,
    with_tenant_tag,
)
from app.search.scope import in_view

_EXPERIMENTS = table_of(Experiment)

_ATTRIBUTES = by_name(
    attribute("name", _EXPERIMENTS.c.name),
    attribute("experiment_id", _EXPERIMENTS.c.experiment_id, "experiment_id"),
    attribute("creation_time", _EXPERIMENTS.c.creation_time, "whole"),
    attribute("last_update_time", _EXPERIMENTS.c.last_update_time, "whole"),
)

EXPERIMENTS = EntitySchema(
    id=_EXPERIMENTS.c.experiment_id,
    prefixes={
        "attribute": FieldKind.ATTRIBUTE,
        **dict.fromkeys(("tag", "tags"), FieldKind.TAG),
    },
    attributes=_ATTRIBUTES,
    sort_attributes=_ATTRIBUTES,
    child_tables={
        FieldKind.TAG: KeyValueChildTable(table_of(ExperimentTag), "experiment_id", "value")
    },
    comparators={FieldKind.TAG: PATTERN | NULLNESS},
    listable=frozenset({"experiment_id"}),
    messages=ErrorMessages(
        unknown_prefix="Invalid entity type '{prefix}'."
        " Valid entity types are ('attribute', 'tag', 'tags')",
        comparator="Invalid comparator '{comparator}' not one of '{{{allowed}}}'",
        nullness="IS NULL / IS NOT NULL is only supported for tags, not for {kind} '{written}'",
    ),
)
_EXPERIMENTS_WITH_TENANT_TAG = with_tenant_tag(EXPERIMENTS)

# MLflow breaks ties by the id: ascending in its default order, descending in the caller's.
_DEFAULT_ORDER = ("creation_time DESC", "experiment_id ASC")
_TIE_BREAK = SortTerm(EXPERIMENTS.sort_attributes["experiment_id"], descending=True)


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
    """A page of the experiments, without an order the newest first.

    The rows are experiment id and sort keys. `name_contains` ignores case. `tenant_tag` tells
    whether experiments have the derived tag of their tenant. Raises InvalidValueError, whose
    `field` is `filter`, `order_by`, `search` (for `name_contains`) or `page_token`.
    """
    schema = _EXPERIMENTS_WITH_TENANT_TAG if tenant_tag else EXPERIMENTS
    where = [
        _EXPERIMENTS.c.tenant_id == tenant.id,
        *in_view(_EXPERIMENTS.c.deleted_time, view),
        *compile_filter(tenant, schema, parse_filter(filter)).where(schema.id),
    ]
    if name_contains:
        validation.text(name_contains, "search")
        where.append(_EXPERIMENTS.c.name.icontains(name_contains, autoescape=True))
    orders = parse_orders(order_by or _DEFAULT_ORDER)
    page = build_page(
        schema.id,
        _EXPERIMENTS,
        where,
        ordering(tenant, [*sort_terms(tenant, schema, orders), _TIE_BREAK]),
        limit=limit,
        offset=offset,
        page_token=page_token,
        search=["experiments", tenant.id, filter, list(order_by), view, name_contains],
    )
    return replace(
        page,
        statement=with_first_experiment(tenant, page.statement),
        count=with_first_experiment(tenant, page.count),
    )
