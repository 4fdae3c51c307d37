"""Bounds the bytes of a page: rows and their child tables are measured before they are read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table, Text, any_, func, literal, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from app.kernel.memory_budget import MemoryBudget, count_fitting
from app.kernel.tenant import Tenant
from app.search.page import Page, Row

# A page has at most so many bytes, unless it is a single row.
MAX_PAGE_BYTES = 8 << 20

# The bytes of a row itself, of a key-value pair beside its texts, and of a metric.
_ROW_BYTES = 500
_PAIR_BYTES = 30
_METRIC_BYTES = 200

MeasuredTable = tuple[Table, str]
"""A child table, and its column that holds the owner's id."""


async def fetch_rows(connection: AsyncConnection, page: Page) -> Sequence[Row]:
    """The rows of the page and, if there is another page, the first one of that."""
    rows: Sequence[Row] = (await connection.execute(page.statement)).all()
    return rows


async def cut_page(
    memory: MemoryBudget,
    connection: AsyncConnection,
    tenant: Tenant,
    page: Page,
    rows: Sequence[Row],
    *child_tables: MeasuredTable,
    extra_bytes: Mapping[Any, int] | None = None,
) -> tuple[list[Any], str | None]:
    """The ids of the first rows, of at most MAX_PAGE_BYTES in all, and the token of the next page.

    `extra_bytes` are what the rows take beside their child tables, by id. The bytes of the page are
    charged to the memory budget of the request, which may raise TooLargeError or UnavailableError.
    """
    ids = [row[0] for row in rows[: page.limit]]
    sizes = await measure(connection, tenant, ids, *child_tables)
    sizes.update(extra_bytes or {})
    lengths = [_ROW_BYTES + sizes[row_id] for row_id in ids]
    count = count_fitting(lengths, MAX_PAGE_BYTES)
    await memory.hold_rows(tenant, sum(lengths[:count]))
    return page.split(rows, count)


async def measure(
    connection: AsyncConnection, tenant: Tenant, ids: Sequence[Any], *child_tables: MeasuredTable
) -> Counter[Any]:
    """About how many bytes the child tables hold for each id."""
    sizes: Counter[Any] = Counter()
    for table, owner_column in child_tables if ids else ():
        column = table.c[owner_column]
        statement = (
            select(column, func.sum(_bytes(table)))
            .where(
                table.c.tenant_id == tenant.id,
                column == any_(literal(list(ids), ARRAY(column.type))),
            )
            .group_by(column)
        )
        for row_id, size in await connection.execute(statement):
            sizes[row_id] += int(size)
    return sizes


def _bytes(table: Table) -> ColumnElement[Any]:
    if not isinstance(table.c.value.type, Text):
        return literal_column(str(_METRIC_BYTES))
    return func.octet_length(table.c.key) + func.octet_length(table.c.value) + _PAIR_BYTES
