"""The searchable schema of an entity: what filters and orders may name, and what that is in SQL.

Each domain describes its entities in its own `search.py`. The rules are those of MLflow 3.17's SQL
store (mlflow.utils.search_utils, mlflow.utils.search_logged_model_utils), the error messages too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

from sqlalchemy import Column, ColumnElement, Text, literal

from app.kernel.tenant import TENANT_TAG, Tenant
from app.search.child_tables import ChildTable
from app.search.predicates import EQUALITY, MEMBERSHIP, ORDERING, PATTERN


class FieldKind(StrEnum):
    """What an identifier names: a value of the entity itself, or a key in a child table."""

    ATTRIBUTE = "attribute"
    METRIC = "metric"
    PARAM = "parameter"
    TAG = "tag"
    DATASET = "dataset"


ValueType = Literal["text", "integer", "whole", "whole_or_text", "run_id", "experiment_id"]
"""What an attribute is compared with: `integer` with any number, `whole` with whole numbers only,
`whole_or_text` also with one in quotes, `experiment_id` with a number in quotes."""

_COMPARATORS: Mapping[ValueType, frozenset[str]] = {
    "text": PATTERN | MEMBERSHIP,
    "integer": ORDERING,
    "whole": ORDERING,
    "whole_or_text": ORDERING,
    "run_id": PATTERN | MEMBERSHIP,
    "experiment_id": EQUALITY | MEMBERSHIP,
}


@dataclass(frozen=True)
class Attribute:
    """A value of the entity itself. Build it with `attribute`.

    `name` is the one that errors show, whichever alias a filter uses.
    """

    name: str
    expression: Callable[[Tenant], ColumnElement[Any]]
    type: ValueType
    nullable: bool

    @property
    def comparators(self) -> frozenset[str]:
        return _COMPARATORS[self.type]


def attribute(
    name: str,
    value: ColumnElement[Any] | Callable[[Tenant], ColumnElement[Any]],
    type: ValueType = "text",
) -> Attribute:
    """An attribute by its column, or by an expression, which may depend on the tenant.

    An expression is never null.
    """
    if not isinstance(value, ColumnElement):
        return Attribute(name, value, type, nullable=False)
    nullable = isinstance(value, Column) and bool(value.nullable)
    return Attribute(name, lambda tenant: value, type, nullable)


def by_name(*attributes: Attribute) -> dict[str, Attribute]:
    return {attribute.name: attribute for attribute in attributes}


@dataclass(frozen=True)
class ErrorMessages:
    """MLflow's error messages that differ from entity to entity: templates of `str.format`."""

    unknown_prefix: str
    comparator: str
    nullness: str
    unsortable: str = "Invalid order_by entity: {kind}"
    sort_key: str = "attribute"
    attribute_value: str = "Expected a quoted string value for attributes. Got value {shown}"


@dataclass(frozen=True)
class EntitySchema:
    """The description of one searchable entity.

    `id` is the column that identifies it within the tenant.
    `prefixes` maps what precedes the first dot of an identifier to a kind.
    `attributes` maps the names that filters may use, aliases included, `sort_attributes` those of
    orders; `listable` are the names of attributes that take IN.
    `child_tables` hold the keys of the other kinds, `comparators` are what their values take, and
    `sortable_kinds` are those that an order may name.
    `derived_tags` are tags that are computed instead of stored.
    `repeatable_orders`: an order may name a field twice.
    `unquoted`: a text may be compared with a number or a word without quotes, and a key may hold
    `/` and `-` without quotes.
    `comparator_first`: a comparator is checked before its value, for the error that is reported.
    """

    id: Column[Any]
    prefixes: Mapping[str, FieldKind]
    attributes: Mapping[str, Attribute]
    sort_attributes: Mapping[str, Attribute]
    child_tables: Mapping[FieldKind, ChildTable]
    comparators: Mapping[FieldKind, frozenset[str]]
    listable: frozenset[str]
    messages: ErrorMessages
    sortable_kinds: frozenset[FieldKind] = frozenset()
    derived_tags: Mapping[str, Attribute] = field(default_factory=dict)
    repeatable_orders: bool = True
    unquoted: bool = False
    comparator_first: bool = False


_TENANT = attribute(TENANT_TAG, lambda tenant: literal(tenant.slug, Text))


def with_tenant_tag(schema: EntitySchema) -> EntitySchema:
    """The schema with the derived tag that holds the tenant's slug."""
    return replace(schema, derived_tags={**schema.derived_tags, TENANT_TAG: _TENANT})
