"""From orders to sort keys: totally ordered values without nulls, which a page token can hold."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, String, Uuid, case, collate, func, literal
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION

from app.kernel.errors import InvalidValueError
from app.kernel.tenant import Tenant
from app.search.child_tables import ChildJoin
from app.search.fields import Field, resolve
from app.search.keyset import Ordering, SortKey, inline_integer
from app.search.parser import parse_order
from app.search.schema import Attribute, EntitySchema
from app.search.syntax_tree import Order

# Each order can cost a join and two sort keys.
MAX_ORDERS = 10

# A text is sorted by so many characters, no fewer than MLflow keeps: the rows of a page and the
# token of the next one hold the sort keys.
MAX_SORTED_LENGTH = 8_000


@dataclass(frozen=True)
class SortTerm:
    """What to sort by, an attribute or a value of a child table, and the direction."""

    by: Attribute | ChildJoin
    descending: bool = False


def parse_orders(order_by: Sequence[str]) -> list[Order]:
    """The syntax trees of the orders. Raises InvalidValueError(field="order_by")."""
    check_count(order_by)
    return [parse_order(text) for text in order_by]


def check_count(orders: Sequence[object]) -> None:
    """Raises InvalidValueError for more than MAX_ORDERS."""
    if len(orders) > MAX_ORDERS:
        raise InvalidValueError(f"`order_by` has more than {MAX_ORDERS} terms", field="order_by")


def sort_terms(tenant: Tenant, schema: EntitySchema, orders: Sequence[Order]) -> list[SortTerm]:
    """What the orders sort by. Raises InvalidValueError(field="order_by")."""
    terms: dict[Field, SortTerm] = {}
    for order in orders:
        field = resolve(schema, order.source, order.identifier, order=True)
        if field not in terms:
            terms[field] = SortTerm(_sort_by(tenant, schema, order, field), order.descending)
        elif not schema.repeatable_orders:
            texts = [order.source.text for order in orders]
            raise InvalidValueError(
                f"`order_by` contains duplicate fields: {texts}", field="order_by"
            )
    return list(terms.values())


def ordering(tenant: Tenant, terms: Iterable[SortTerm]) -> Ordering:
    """The sort keys of the terms, without attributes that an earlier term sorts by already."""
    keys: list[SortKey] = []
    joins: list[ChildJoin] = []
    seen: set[str] = set()
    for term in terms:
        if isinstance(term.by, ChildJoin):
            joins.append(term.by)
            keys += _sort_keys(term.by.value, nullable=True, descending=term.descending)
        elif term.by.name not in seen:
            seen.add(term.by.name)
            value = term.by.expression(tenant)
            keys += _sort_keys(value, nullable=term.by.nullable, descending=term.descending)
    return Ordering(tuple(keys), tuple(joins))


def _sort_by(
    tenant: Tenant, schema: EntitySchema, order: Order, field: Field
) -> Attribute | ChildJoin:
    if field.attribute is not None:
        return field.attribute
    if field.kind not in schema.sortable_kinds:
        message = schema.messages.unsortable.format(kind=field.kind, key=field.name[:100])
        raise order.source.error(message, order.identifier.at)
    return schema.child_tables[field.kind].join(tenant, schema.id, field.name)


def _sort_keys(value: ColumnElement[Any], *, nullable: bool, descending: bool) -> list[SortKey]:
    """The sort keys of a value. In both directions values come first, then NaN, then null."""
    if isinstance(value.type, Uuid):
        return [SortKey(value, UUID, descending)]
    if isinstance(value.type, DOUBLE_PRECISION):
        nan = literal(math.nan, DOUBLE_PRECISION)
        rank = case((value.is_(None), 2), (value == nan, 1), else_=0)
        number = case((value.is_(None) | (value == nan), 0.0), else_=value)
        return [SortKey(rank, int), SortKey(number, float, descending)]
    python_type, filler = (str, "") if isinstance(value.type, String) else (int, 0)
    rank = case((value.is_(None), 1), else_=0)
    if nullable:
        value = func.coalesce(value, filler)
    if python_type is str:
        # By code points: the same order on every server, whatever its locale.
        value = collate(func.left(value, inline_integer(MAX_SORTED_LENGTH)), "C")
    key = SortKey(value, python_type, descending)
    return [SortKey(rank, int), key] if nullable else [key]
