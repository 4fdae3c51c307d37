"""Tables of keys and values that belong to a row of another table: its tags or its params.

All keys of a call go to Postgres in one statement, as arrays: Postgres takes at most 65,535
parameters, and SQLAlchemy would write out each of them.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, Text, any_, delete, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, Insert
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.kernel import validation
from app.kernel.tenant import Tenant

# Bytes of values of one owner. They are limited because an owner is always read with all of them.
MAX_VALUES_BYTES = 8 << 20


@dataclass(frozen=True)
class KeyValueTable:
    """The keys and values in `table`, by the owner whose id is in `owner_column`.

    One owner may have `limit` keys and MAX_VALUES_BYTES of values. An owner that was imported with
    more keeps its keys and may get new values for them. Errors call the owner `owner_name`, such
    as "An experiment", and its keys `kind`, such as "tags".

    Callers of `set` and `add` hold a lock on the owner, so that its keys can be counted.
    """

    table: Table
    owner_column: str
    owner_name: str
    kind: str
    limit: int

    async def read(
        self, connection: AsyncConnection, tenant: Tenant, owners: Sequence[Any]
    ) -> defaultdict[Any, dict[str, str]]:
        """The values of each owner, by key.

        They are read as rows: to build a JSON object, Postgres would take many times their size.
        """
        found: defaultdict[Any, dict[str, str]] = defaultdict(dict)
        if owners:
            column = self.table.c[self.owner_column]
            rows = await connection.execute(
                select(column, self.table.c.key, self.table.c.value)
                .where(
                    self.table.c.tenant_id == tenant.id,
                    column == any_(literal(list(owners), ARRAY(column.type))),
                )
                .order_by(column, self.table.c.key)
            )
            for owner, key, value in rows:
                found[owner][key] = value
        return found

    async def set(
        self, connection: AsyncConnection, tenant: Tenant, owner: object, pairs: Mapping[str, str]
    ) -> None:
        """Add keys, and overwrite the values of those that exist.

        Raises InvalidValueError where the owner would have too many keys, or too long values.
        """
        if not pairs:
            return
        await self._check_limits(connection, tenant, owner, pairs)
        statement = self._insert(tenant, owner, pairs)
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=["tenant_id", self.owner_column, "key"],
                set_={"value": statement.excluded.value},
            )
        )

    async def add(
        self, connection: AsyncConnection, tenant: Tenant, owner: object, pairs: Mapping[str, str]
    ) -> dict[str, str]:
        """Add the keys that are new; returns the values that all given keys have now.

        Raises InvalidValueError where the owner would have too many keys, or too long values.
        """
        if not pairs:
            return {}
        await self._check_limits(connection, tenant, owner, pairs)
        await connection.execute(self._insert(tenant, owner, pairs).on_conflict_do_nothing())
        rows = await connection.execute(
            select(self.table.c.key, self.table.c.value).where(
                self._of_owner(tenant, owner), self.table.c.key == any_(text_array(pairs.keys()))
            )
        )
        return {row.key: row.value for row in rows}

    async def delete(
        self, connection: AsyncConnection, tenant: Tenant, owner: object, keys: Collection[str]
    ) -> int:
        """Delete keys; returns how many of them existed."""
        if not keys:
            return 0
        result = await connection.execute(
            delete(self.table).where(
                self._of_owner(tenant, owner), self.table.c.key == any_(text_array(keys))
            )
        )
        return result.rowcount

    async def _check_limits(
        self, connection: AsyncConnection, tenant: Tenant, owner: object, pairs: Mapping[str, str]
    ) -> None:
        given = self.table.c.key == any_(text_array(pairs.keys()))
        length = func.sum(func.octet_length(self.table.c.value))
        rows = await connection.execute(
            select(
                func.count(),
                func.count().filter(given),
                func.coalesce(length, 0),
                func.coalesce(length.filter(given), 0),
            ).where(self._of_owner(tenant, owner))
        )
        stored, overwritten, stored_bytes, overwritten_bytes = rows.one()
        if len(pairs) > overwritten:
            new = stored + len(pairs) - overwritten
            validation.fits(self.owner_name, self.kind, new, self.limit)
        given_bytes = sum(len(value.encode()) for value in pairs.values())
        if given_bytes > overwritten_bytes:
            new = stored_bytes + given_bytes - overwritten_bytes
            validation.fits(self.owner_name, self.kind, new, MAX_VALUES_BYTES, unit="bytes of ")

    def _of_owner(self, tenant: Tenant, owner: object) -> ColumnElement[bool]:
        column = self.table.c[self.owner_column]
        return (self.table.c.tenant_id == tenant.id) & (column == owner)

    def _insert(self, tenant: Tenant, owner: object, pairs: Mapping[str, str]) -> Insert:
        given = (
            func.unnest(text_array(pairs.keys()), text_array(pairs.values()))
            .table_valued("key", "value", name="given")
            .render_derived()
        )
        rows: Select[Any] = select(
            literal(tenant.id),
            literal(owner, self.table.c[self.owner_column].type),
            given.c.key,
            given.c.value,
        )
        return upsert(self.table).from_select(
            ["tenant_id", self.owner_column, "key", "value"], rows
        )


def text_array(values: Iterable[str]) -> ColumnElement[Any]:
    """A bound parameter of the type `text[]`."""
    return literal(list(values), ARRAY(Text))
