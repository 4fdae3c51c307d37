"""The conditions of a search beside its filter: the lifecycle view, and ids to search among."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, any_, false, literal
from sqlalchemy.dialects.postgresql import ARRAY

from app.kernel.lifecycle import ViewType
from app.kernel.validation import INT64_MAX, INT64_MIN


def in_view(deleted_time: Column[Any], view: ViewType) -> list[ColumnElement[bool]]:
    """That an entity is active, or soft-deleted."""
    match view:
        case "ACTIVE_ONLY":
            return [deleted_time.is_(None)]
        case "DELETED_ONLY":
            return [deleted_time.is_not(None)]
        case _:
            return []


def with_id(column: Column[int], ids: Sequence[int]) -> list[ColumnElement[bool]]:
    """That the column holds one of the ids, which are distinct."""
    match ids:
        case []:
            return [false()]
        case [only_id]:
            # With a plain equality an index gives the rows of this id in its order.
            return [column == only_id]
        case _:
            return [column == any_(literal(list(ids), ARRAY(BigInteger)))]


def distinct_ids(ids: Sequence[int]) -> list[int]:
    """The ids once each, sorted, without those that no bigint column can hold."""
    return sorted({number for number in ids if INT64_MIN <= number <= INT64_MAX})
