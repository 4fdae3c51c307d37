"""Pages of a search: the statement that reads one, and the token of the next one.

A token holds the sort keys of the last row and a fingerprint of the search.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, FromClause, Select, func, select
from sqlalchemy.dialects.postgresql import psycopg as driver

from app.kernel import validation
from app.kernel.errors import InvalidValueError
from app.kernel.page_tokens import PageTokenCodec
from app.search.keyset import Ordering, SortKey, inline_integer, select_rows

_PLACEHOLDER = re.compile(r"%\(\w+\)s|%%")
_DIALECT = driver.dialect()  # type: ignore[no-untyped-call]

Row = Sequence[Any]

BuildRows = Callable[[Sequence[Any] | None, int], Select[Any]]
"""Builds a statement of rows as `select_rows` does: given the sort keys to start behind, or None,
and the number of rows."""


class _Token(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    fingerprint: bytes
    keys: list[int | float | str]


_PAGE_TOKENS: PageTokenCodec[_Token] = PageTokenCodec(
    _Token, "it is malformed, or belongs to a search with other arguments"
)


@dataclass(frozen=True)
class CompiledPage:
    """A page as text with `$1`, `$2`… and their values, without the tree of SQLAlchemy.

    `generic_plan`: the statement fixes the order in which tables are read, so that one plan of
    Postgres serves all values.
    """

    text: str
    values: Sequence[Any]
    count_text: str
    count_values: Sequence[Any]
    limit: int
    keys: int
    fingerprint: bytes
    generic_plan: bool

    def split(
        self, rows: Sequence[Row], max_rows: int | None = None
    ) -> tuple[list[Any], str | None]:
        """As `Page.split`."""
        return _split(rows, self.limit, max_rows, self.keys, self.fingerprint)


@dataclass(frozen=True)
class Page:
    """One page of a search, as statements.

    The rows of `statement` are an id, its sort keys, of which there are `keys`, and extra columns.
    It reads one row more than `limit`, which tells that there is another page. `count` counts the
    matches of all pages. `generic_plan` is that of CompiledPage.
    """

    statement: Select[Any]
    count: Select[Any]
    limit: int
    keys: int
    fingerprint: bytes
    generic_plan: bool = False

    def compiled(self) -> CompiledPage:
        return CompiledPage(
            *_compile(self.statement),
            *_compile(self.count),
            self.limit,
            self.keys,
            self.fingerprint,
            self.generic_plan,
        )

    def split(
        self, rows: Sequence[Row], max_rows: int | None = None
    ) -> tuple[list[Any], str | None]:
        """The ids of the page, and the token of the next page if there is one. With `max_rows` the
        page may end before its limit."""
        return _split(rows, self.limit, max_rows, self.keys, self.fingerprint)


def build_page(
    id: ColumnElement[Any],
    table: FromClause,
    where: Sequence[ColumnElement[bool]],
    ordering: Ordering,
    *,
    limit: int,
    offset: int = 0,
    page_token: str | None,
    search: Sequence[object],
    extra_columns: Sequence[ColumnElement[Any]] = (),
    index_scan: BuildRows | None = None,
) -> Page:
    """One page of `table`. `search` names all arguments with which a token is bound to its search.

    With `index_scan` the rows are read by its statement, which must find the same rows.
    Raises InvalidValueError(field="page_token") for a token that is malformed or of another search.
    """
    fingerprint = blake2b(msgspec.msgpack.encode(search), digest_size=16).digest()
    keys = ordering.keys
    after = _read_token(page_token, fingerprint, keys) if page_token else None
    if index_scan is not None:
        statement = index_scan(after, offset + limit + 1)
    else:
        statement = select_rows(
            id, ordering.join(table), where, keys, extra_columns=extra_columns, after=after
        ).limit(inline_integer(limit + 1))
    if offset:
        statement = statement.offset(offset)
    count = select(func.count()).select_from(table).where(*where)
    return Page(
        statement, count, limit, len(keys), fingerprint, generic_plan=index_scan is not None
    )


def _compile(statement: Select[Any]) -> tuple[str, list[Any]]:
    """Text and values. A value that the statement names several times is sent once."""
    compiled = statement.compile(dialect=_DIALECT)
    numbers: dict[tuple[type, str], int] = {}
    values: list[Any] = []
    parameters: dict[str, str] = {}
    for name, value in compiled.params.items():
        number = numbers.setdefault((type(value), repr(value)), len(values) + 1)
        if number > len(values):
            values.append(value)
        parameters[f"%({name})s"] = f"${number}"
    text = _PLACEHOLDER.sub(lambda match: parameters.get(match[0], "%"), compiled.string)
    return text, values


def _split(
    rows: Sequence[Row], limit: int, max_rows: int | None, keys: int, fingerprint: bytes
) -> tuple[list[Any], str | None]:
    if max_rows is not None:
        limit = min(max_rows, limit)
    ids = [row[0] for row in rows[:limit]]
    if len(rows) <= limit or not ids:
        return ids, None
    last = rows[limit - 1]
    return ids, _PAGE_TOKENS.encode(_Token(fingerprint, list(last[1 : 1 + keys])))


def _read_token(text: str, fingerprint: bytes, keys: Sequence[SortKey]) -> list[Any]:
    """The values of the sort keys. Raises InvalidValueError."""
    token = _PAGE_TOKENS.decode(text)
    if token.fingerprint != fingerprint or len(token.keys) != len(keys):
        raise _PAGE_TOKENS.refusal()
    try:
        return [_checked(key, value) for key, value in zip(keys, token.keys, strict=True)]
    except (msgspec.ValidationError, InvalidValueError):
        raise _PAGE_TOKENS.refusal() from None


def _checked(key: SortKey, value: object) -> Any:
    """The value in the key's type, if Postgres can take it. Raises msgspec.ValidationError or
    InvalidValueError."""
    converted: Any = msgspec.convert(value, key.type)
    if isinstance(converted, int):
        validation.int64(converted, "page_token")
    if isinstance(converted, str):
        validation.text(converted, "page_token")
    return converted
