"""Pages: the statement that reads one, and the token that names the next.

A token holds the sort keys of the last row and a fingerprint of the search. It is no secret and
no permission: forged keys only start the page elsewhere in what the caller may read anyway.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

import msgspec
from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    and_,
    func,
    literal,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import psycopg as driver

from app.kernel import validation
from app.kernel.errors import InvalidValueError
from app.kernel.page_tokens import PageTokenCodec
from app.search.order_by import Ordering, SortKey

_PLACEHOLDER = re.compile(r"%\(\w+\)s|%%")
_DIALECT = driver.dialect()  # type: ignore[no-untyped-call]

Row = Sequence[Any]


class _Token(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    fingerprint: bytes
    keys: list[int | float | str]


_PAGE_TOKENS: PageTokenCodec[_Token] = PageTokenCodec(
    _Token, "it is malformed, or belongs to a search with other arguments"
)


@dataclass(frozen=True)
class CompiledPage:
    """A page as text with `$1`, `$2`… and their values, without the tree that it was written from.

    `ordered`: the statement fixes the order in which tables are read, so that Postgres has nothing
    to choose and may keep one plan for all values.
    """

    text: str
    values: Sequence[Any]
    count_text: str
    count_values: Sequence[Any]
    limit: int
    keys: int
    fingerprint: bytes
    ordered: bool

    def split(self, rows: Sequence[Row], most: int | None = None) -> tuple[list[Any], str | None]:
        """The ids of the page, and the token of the next one where there is one. `most` ends the
        page sooner than its limit."""
        limit = self.limit if most is None else min(most, self.limit)
        return _split(rows, limit, self.keys, self.fingerprint)


@dataclass(frozen=True)
class Page:
    """
    The rows of `statement` are an id, its sort keys, and what else was asked for; one row more
    than the page holds. `count` counts what matches on all pages.
    """

    statement: Select[Any]
    count: Select[Any]
    limit: int
    keys: int
    fingerprint: bytes
    ordered: bool = False

    def compiled(self) -> CompiledPage:
        return CompiledPage(
            *_compile(self.statement),
            *_compile(self.count),
            self.limit,
            self.keys,
            self.fingerprint,
            self.ordered,
        )

    def split(self, rows: Sequence[Row], most: int | None = None) -> tuple[list[Any], str | None]:
        """The ids of the page, and the token of the next one where there is one. `most` ends the
        page sooner than its limit."""
        limit = self.limit if most is None else min(most, self.limit)
        return _split(rows, limit, self.keys, self.fingerprint)


class Way(Protocol):
    """Another way to the same rows: those behind the keys `after`, `count` of them."""

    def __call__(self, after: Sequence[Any] | None, count: int) -> Select[Any]: ...


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
    also: Sequence[ColumnElement[Any]] = (),
    way: Way | None = None,
) -> Page:
    """One page of `table`. `search` is all that a token must not be carried from or to.

    Raises InvalidValueError(field="page_token") for a token that is malformed or of another search.
    """
    fingerprint = blake2b(msgspec.msgpack.encode(search), digest_size=16).digest()
    keys = ordering.keys
    after = _read(page_token, fingerprint, keys) if page_token else None
    if way is not None:
        statement = way(after, offset + limit + 1)
    else:
        statement = rows(id, ordering.join(table), where, keys, also=also, after=after)
        statement = statement.limit(constant(limit + 1))
    if offset:
        statement = statement.offset(offset)
    count = select(func.count()).select_from(table).where(*where)
    return Page(statement, count, limit, len(keys), fingerprint, ordered=way is not None)


def rows(
    id: ColumnElement[Any],
    table: FromClause,
    where: Sequence[ColumnElement[bool]],
    keys: Sequence[SortKey],
    *,
    also: Sequence[ColumnElement[Any]] = (),
    after: Sequence[Any] | None = None,
) -> Select[Any]:
    """The ids with their sort keys, in their order, from the row of the keys `after` on."""
    columns = [key.expression.label(f"key_{n}") for n, key in enumerate(keys)]
    statement = select(id, *columns, *also).select_from(table).where(*where)
    if after is not None:
        statement = statement.where(behind(keys, after))
    return statement.order_by(*in_order(keys, columns))


def in_order(
    keys: Sequence[SortKey], columns: Sequence[ColumnElement[Any]]
) -> list[ColumnElement[Any]]:
    return [
        column.desc() if key.descending else column
        for key, column in zip(keys, columns, strict=True)
    ]


def constant(number: int) -> ColumnElement[int]:
    """A number in the statement's text: a LIMIT that the planner can count on."""
    return literal_column(str(int(number)))


def behind(keys: Sequence[SortKey], values: Sequence[Any]) -> ColumnElement[bool]:
    """What sorts behind the row of those values.

    Written as `a <= x AND (a < x OR b > y)` rather than `a < x OR (a = x AND b > y)`: the first
    half is a bound that Postgres can start an index scan at.
    """
    key, value = keys[0], literal(values[0], keys[0].expression.type)
    strictly = key.expression < value if key.descending else key.expression > value
    if len(keys) == 1:
        return strictly
    at_most = key.expression <= value if key.descending else key.expression >= value
    return and_(at_most, or_(strictly, behind(keys[1:], values[1:])))


def _compile(statement: Select[Any]) -> tuple[str, list[Any]]:
    """Text and values; what stands in the statement several times is only one value to send."""
    compiled = statement.compile(dialect=_DIALECT)
    numbers: dict[tuple[type, str], int] = {}
    values: list[Any] = []
    places: dict[str, str] = {}
    for name, value in compiled.params.items():
        number = numbers.setdefault((type(value), repr(value)), len(values) + 1)
        if number > len(values):
            values.append(value)
        places[f"%({name})s"] = f"${number}"
    return _PLACEHOLDER.sub(lambda found: places.get(found[0], "%"), compiled.string), values


def _split(
    rows: Sequence[Row], limit: int, keys: int, fingerprint: bytes
) -> tuple[list[Any], str | None]:
    ids = [row[0] for row in rows[:limit]]
    if len(rows) <= limit or not ids:
        return ids, None
    last = rows[limit - 1]
    return ids, _PAGE_TOKENS.encode(_Token(fingerprint, list(last[1 : 1 + keys])))


def _read(text: str, fingerprint: bytes, keys: Sequence[SortKey]) -> list[Any]:
    token = _PAGE_TOKENS.decode(text)
    if token.fingerprint != fingerprint or len(token.keys) != len(keys):
        raise _PAGE_TOKENS.refusal()
    try:
        return [_checked(key, value) for key, value in zip(keys, token.keys, strict=True)]
    except (msgspec.ValidationError, InvalidValueError):
        raise _PAGE_TOKENS.refusal() from None


def _checked(key: SortKey, value: object) -> Any:
    """A key as Postgres can take it. Raises msgspec.ValidationError or InvalidValueError."""
    found: Any = msgspec.convert(value, key.type)
    if isinstance(found, int):
        validation.int64(found, "page_token")
    if isinstance(found, str):
        validation.text(found, "page_token")
    return found
