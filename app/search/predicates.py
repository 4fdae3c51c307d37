"""Predicates: one comparison of one value, in SQL.

Postgres is only given values that the column's type can hold. A comparison with a number beyond the
column's range, or with a text that cannot be an id, is decided here.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, all_, any_, cast, false, func, literal, true
from sqlalchemy.dialects.postgresql import ARRAY

from app.kernel.ids import parse_run_id
from app.kernel.validation import INT64_MAX, INT64_MIN

Predicate = Callable[[ColumnElement[Any]], ColumnElement[bool]]
"""Builds the condition on the column or expression that holds the value."""

EQUALITY = frozenset({"=", "!="})
ORDERING = EQUALITY | {"<", "<=", ">", ">="}
PATTERN = EQUALITY | {"LIKE", "ILIKE"}
MEMBERSHIP = frozenset({"IN", "NOT IN"})
NULLNESS = frozenset({"IS NULL", "IS NOT NULL"})


def text(comparator: str, value: str | Sequence[str]) -> Predicate:
    """A comparison with a text, or with a list of them."""
    match comparator, value:
        case "=", str():
            return lambda column: column == value
        case "!=", str():
            return lambda column: column != value
        case "LIKE", str():
            return lambda column: column.like(_pattern(value))
        case "ILIKE", str():
            return lambda column: column.ilike(_pattern(value))
        case _:
            return _member(comparator, value)


def run_id(comparator: str, value: str | Sequence[str]) -> Predicate:
    """A comparison of a run id, a UUID that MLflow shows as 32 hexadecimal digits."""
    match comparator, value:
        case (("LIKE" | "ILIKE"), str()):
            pattern = text(comparator, value)
            return lambda column: pattern(run_id_text(column))
        case _:
            texts = [value] if isinstance(value, str) else value
            ids = [number for text in texts if (number := parse_run_id(text))]
            return _member("IN" if comparator in ("=", "IN") else "NOT IN", ids)


def run_id_text(column: ColumnElement[UUID]) -> ColumnElement[str]:
    """A run id as MLflow shows it: `UUID.hex`, in SQL."""
    return func.replace(cast(column, Text), "-", "")


def integer(comparator: str, number: int | float) -> Predicate:
    """A comparison of a bigint with any number, fractions and infinities included."""
    if isinstance(number, float):
        if math.isinf(number):
            number = INT64_MAX + 1 if number > 0 else INT64_MIN - 1
        elif not number.is_integer():
            if comparator in EQUALITY:
                return _always(comparator == "!=")
            # For an integer, below 1.5 is below 2, and above 1.5 is above 1.
            number = math.ceil(number) if comparator in ("<", ">=") else math.floor(number)
        else:
            number = int(number)
    if not INT64_MIN <= number <= INT64_MAX:
        return _always(_holds_for_all(comparator, number > 0))
    return _ordering(comparator, number)


def integers(comparator: str, numbers: Sequence[int]) -> Predicate:
    """Membership of a bigint in a list."""
    return _member(comparator, [n for n in numbers if INT64_MIN <= n <= INT64_MAX])


def real(comparator: str, number: float) -> Predicate:
    """A comparison of a metric's value.

    As in MLflow, NaN differs from every number and is neither above nor below one. Postgres sorts
    it above all numbers.
    """
    compare = _ordering(comparator, number)
    if comparator in (">", ">="):
        return lambda column: compare(column) & (column <= math.inf)
    return compare


def _ordering(comparator: str, number: float) -> Predicate:
    match comparator:
        case "=":
            return lambda column: column == number
        case "!=":
            return lambda column: column != number
        case "<":
            return lambda column: column < number
        case "<=":
            return lambda column: column <= number
        case ">":
            return lambda column: column > number
        case _:
            return lambda column: column >= number


def _member(comparator: str, values: Sequence[Any]) -> Predicate:
    # One array parameter instead of a parameter for each value: the text of the statement does not
    # depend on their number, which may exceed what Postgres takes as parameters.
    if comparator == "NOT IN":
        return lambda column: column != all_(literal(list(values), ARRAY(column.type)))
    return lambda column: column == any_(literal(list(values), ARRAY(column.type)))


def _holds_for_all(comparator: str, above: bool) -> bool:
    """Whether the comparison is true of every value, with a number above or below all of them."""
    return comparator == "!=" or comparator in (("<", "<=") if above else (">", ">="))


def _always(answer: bool) -> Predicate:
    # A comparison with null is neither true nor false.
    if answer:
        return lambda column: column.is_not(None) if _nullable(column) else true()
    return lambda column: false()


def _nullable(column: ColumnElement[Any]) -> bool:
    return getattr(column, "nullable", True)


def _pattern(value: str) -> str:
    """The pattern with an escaped backslash at its end, where Postgres would refuse a lone one."""
    trailing = len(value) - len(value.rstrip("\\"))
    return value + "\\" if trailing % 2 else value
