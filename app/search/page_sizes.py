"""Where a page ends by what hangs on its rows: tags, params and metrics, before they are read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table, Text, any_, func, literal, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from app.kernel.memory_budget import MemoryBudget, count_fitting
from app.kernel.tenant import Tenant
from app.search.page import Page, Row

# What a page takes at most, unless it is one row.
MAX_PAGE_BYTES = 8 << 20

# What a row takes itself, and a pair of key and value beside its texts; a metric has no texts.
_ROW_BYTES = 500
_PAIR_BYTES = 30
_METRIC_BYTES = 200


async def split(
    memory: MemoryBudget,
    connection: AsyncConnection,
    tenant: Tenant,
    page: Page,
    rows: Sequence[Row],
    *attached: tuple[Table, str],
    more: Mapping[Any, int] | None = None,
) -> tuple[list[Any], str | None]:
    """The ids of a page that is not too large, and the token of the next one.

    `attached` are tables of keys and values, each with its column that holds the ids; `more` is how
    many bytes a row takes besides. What the page takes is held against the budget of requests.
    """
    ids = [row[0] for row in rows[: page.limit]]
    sizes = await measured(connection, tenant, ids, *attached)
    sizes.update(more or {})
    lengths = [_ROW_BYTES + sizes[one] for one in ids]
    count = count_fitting(lengths, MAX_PAGE_BYTES)
    total = sum(lengths[:count])
    await memory.hold_rows(tenant, total)
    return page.split(rows, count)


async def measured(
    connection: AsyncConnection, tenant: Tenant, ids: Sequence[Any], *attached: tuple[Table, str]
) -> Counter[Any]:
    """About how many bytes hang on each of the rows."""
    sizes: Counter[Any] = Counter()
    for table, owner in attached if ids else ():
        column = table.c[owner]
        statement = (
            select(column, func.sum(_bytes(table)))
            .where(
                table.c.tenant_id == tenant.id,
                column == any_(literal(list(ids), ARRAY(column.type))),
            )
            .group_by(column)
        )
        for one, size in await connection.execute(statement):
            sizes[one] += int(size)
    return sizes


def _bytes(table: Table) -> ColumnElement[Any]:
    if not isinstance(table.c.value.type, Text):
        return literal_column(str(_METRIC_BYTES))
    return func.octet_length(table.c.key) + func.octet_length(table.c.value) + _PAIR_BYTES
