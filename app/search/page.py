"""Pages: the statement that reads one, and the token that names the next.

A token holds the sort keys of the last row and a fingerprint of the search. It is no secret and
no permission: forged keys only start the page elsewhere in what the caller may read anyway.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, FromClause, Row, Select, and_, func, literal, or_, select

from app import validation
from app.errors import InvalidValueError
from app.search.orders import Ordering, SortKey


class _Token(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    fingerprint: bytes
    keys: list[Any]


@dataclass(frozen=True)
class Page:
    """
    The rows of `statement` are an id and then its sort keys, one row more than the page holds.
    `count` counts what matches on all pages.
    """

    statement: Select[Any]
    count: Select[Any]
    limit: int
    fingerprint: bytes

    def split(self, rows: Sequence[Row[Any]]) -> tuple[list[Any], str | None]:
        """The ids of the page, and the token of the next one where there is one."""
        ids = [row[0] for row in rows[: self.limit]]
        if len(rows) <= self.limit or not ids:
            return ids, None
        last = rows[self.limit - 1]
        token = msgspec.msgpack.encode(_Token(self.fingerprint, list(last[1:])))
        return ids, urlsafe_b64encode(token).rstrip(b"=").decode()


def page(
    id: ColumnElement[Any],
    table: FromClause,
    where: Sequence[ColumnElement[bool]],
    ordering: Ordering,
    *,
    limit: int,
    offset: int,
    page_token: str | None,
    search: Sequence[object],
) -> Page:
    """One page of `table`. `search` is all that a token must not be carried from or to.

    Raises InvalidValueError(field="page_token") for a token that is malformed or of another search.
    """
    fingerprint = blake2b(msgspec.msgpack.encode(search), digest_size=16).digest()
    columns = [key.expression.label(f"key_{n}") for n, key in enumerate(ordering.keys)]
    statement = select(id, *columns).select_from(ordering.join(table)).where(*where)
    if page_token:
        values = _read(page_token, fingerprint, ordering.keys)
        statement = statement.where(_after(ordering.keys, values))
    statement = statement.order_by(
        *(
            column.desc() if key.descending else column
            for key, column in zip(ordering.keys, columns, strict=True)
        )
    ).limit(limit + 1)
    if offset:
        statement = statement.offset(offset)
    count = select(func.count()).select_from(table).where(*where)
    return Page(statement, count, limit, fingerprint)


def _after(keys: Sequence[SortKey], values: Sequence[Any]) -> ColumnElement[bool]:
    """What sorts behind the row of those values.

    Written as `a <= x AND (a < x OR b > y)` rather than `a < x OR (a = x AND b > y)`: the first
    half is a bound that Postgres can start an index scan at.
    """
    key, value = keys[0], literal(values[0], keys[0].expression.type)
    strictly = key.expression < value if key.descending else key.expression > value
    if len(keys) == 1:
        return strictly
    at_most = key.expression <= value if key.descending else key.expression >= value
    return and_(at_most, or_(strictly, _after(keys[1:], values[1:])))


def _read(text: str, fingerprint: bytes, keys: Sequence[SortKey]) -> list[Any]:
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        token = msgspec.msgpack.decode(raw, type=_Token)
        if token.fingerprint == fingerprint and len(token.keys) == len(keys):
            pairs = zip(keys, token.keys, strict=True)
            return [_checked(key, value) for key, value in pairs]
    except (ValueError, msgspec.MsgspecError, InvalidValueError):
        pass
    raise InvalidValueError(
        "Invalid page token: it is malformed, or belongs to a search with other arguments",
        field="page_token",
    )


def _checked(key: SortKey, value: object) -> Any:
    """A key as Postgres can take it. Raises msgspec.ValidationError or InvalidValueError."""
    found: Any = msgspec.convert(value, key.type)
    if isinstance(found, int):
        validation.int64(found, "page_token")
    if isinstance(found, str):
        validation.text(found, "page_token")
    return found
