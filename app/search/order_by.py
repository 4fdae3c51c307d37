"""From orders to sort keys: non-null, totally ordered values that a page token can hold."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, String, Uuid, case, collate, func, literal
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION

from app.kernel.errors import InvalidValueError
from app.kernel.tenant import Tenant
from app.search.child_tables import Joined
from app.search.compiler import Key, key_of
from app.search.entities import Attribute, Entity
from app.search.syntax_tree import Order

# Each term can cost a join and two keys; nobody sorts by more.
MAX_TERMS = 10


@dataclass(frozen=True)
class SortKey:
    """One column of the order; `type` is what its values are in Python. Never null, never NaN."""

    expression: ColumnElement[Any]
    type: type
    descending: bool = False


@dataclass(frozen=True)
class Ordering:
    """The sort keys, the last of which is unique, and the joins that they need."""

    keys: tuple[SortKey, ...]
    joins: tuple[Joined, ...] = ()

    def join(self, table: FromClause) -> FromClause:
        for each in self.joins:
            table = table.outerjoin(each.table, each.on)
        return table


@dataclass(frozen=True)
class Term:
    """What to sort by: an attribute, or a value from a collection."""

    by: Attribute | Joined
    descending: bool = False


def ordering(tenant: Tenant, terms: Iterable[Term]) -> Ordering:
    """The terms as keys; an attribute that comes again has nothing left to tell apart."""
    keys: list[SortKey] = []
    joins: list[Joined] = []
    seen: set[str] = set()
    for term in terms:
        if isinstance(term.by, Joined):
            joins.append(term.by)
            keys += _keys(term.by.value, nullable=True, descending=term.descending)
        elif term.by.name not in seen:
            seen.add(term.by.name)
            value = term.by.expression(tenant)
            keys += _keys(value, nullable=term.by.nullable, descending=term.descending)
    return Ordering(tuple(keys), tuple(joins))


def terms(tenant: Tenant, entity: Entity, orders: Sequence[Order]) -> list[Term]:
    """What the orders sort by. Raises InvalidValueError(field="order_by")."""
    found: dict[Key, Term] = {}
    for order in orders:
        key = key_of(entity, order.source, order.identifier, order=True)
        if key not in found:
            found[key] = Term(_by(tenant, entity, order, key), order.descending)
        elif not entity.repeatable_orders:
            texts = [each.source.text for each in orders]
            raise InvalidValueError(
                f"`order_by` contains duplicate fields: {texts}", field="order_by"
            )
    return list(found.values())


def check_count(orders: Sequence[object]) -> None:
    if len(orders) > MAX_TERMS:
        raise InvalidValueError(f"`order_by` has more than {MAX_TERMS} terms", field="order_by")


def _by(tenant: Tenant, entity: Entity, order: Order, key: Key) -> Attribute | Joined:
    if key.attribute is not None:
        return key.attribute
    if key.kind not in entity.order_kinds:
        raise order.source.error(
            entity.wording.order.format(kind=key.kind, key=key.name[:100]), order.identifier.at
        )
    return entity.attached[key.kind].joined(tenant, entity.id, key.name)


def _keys(value: ColumnElement[Any], *, nullable: bool, descending: bool) -> list[SortKey]:
    """The value's keys: whichever the direction, values come first, then NaN, then nothing."""
    if isinstance(value.type, Uuid):
        return [SortKey(value, UUID, descending)]
    if isinstance(value.type, DOUBLE_PRECISION):
        nan = literal(math.nan, DOUBLE_PRECISION)
        rank = case((value.is_(None), 2), (value == nan, 1), else_=0)
        number = case((value.is_(None) | (value == nan), 0.0), else_=value)
        return [SortKey(rank, int), SortKey(number, float, descending)]
    python, filler = (str, "") if isinstance(value.type, String) else (int, 0)
    rank = case((value.is_(None), 1), else_=0)
    if nullable:
        value = func.coalesce(value, filler)
    if python is str:
        # The order of the code points: the same on every server, whatever its locale.
        value = collate(value, "C")
    key = SortKey(value, python, descending)
    return [SortKey(rank, int), key] if nullable else [key]
