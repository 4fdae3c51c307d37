"""Keys with values that hang on a row of another table: its tags, or its params.

However many there are, they are one statement, and travel as arrays: Postgres takes at most 65,535
parameters, and SQLAlchemy would write each of them out.
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

# Whoever reads a thing reads all that hangs on it.
MAX_PAIRS_BYTES = 8 << 20


@dataclass(frozen=True)
class Pairs:
    """The rows of `table`, of what its column `owner` has the id of and users know as `called`.

    Of one owner there may be `limit`, and MAX_PAIRS_BYTES of values; one that came with more keeps
    them, and takes new values for them. Whoever writes holds the owner's lock.
    """

    table: Table
    owner: str
    called: str
    kind: str
    limit: int

    async def read(
        self, connection: AsyncConnection, tenant: Tenant, owners: Sequence[Any]
    ) -> defaultdict[Any, dict[str, str]]:
        """The pairs of each owner, by key.

        As rows: one JSON object of them takes many times their size in Postgres.
        """
        found: defaultdict[Any, dict[str, str]] = defaultdict(dict)
        if owners:
            column = self.table.c[self.owner]
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
        """Set values, over those that there are. Raises InvalidValueError where it is too many."""
        if not pairs:
            return
        await self._check_room(connection, tenant, owner, pairs)
        statement = self._insert(tenant, owner, pairs)
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=["tenant_id", self.owner, "key"],
                set_={"value": statement.excluded.value},
            )
        )

    async def add(
        self, connection: AsyncConnection, tenant: Tenant, owner: object, pairs: Mapping[str, str]
    ) -> dict[str, str]:
        """Add what is new; returns the values that all of them now have. Raises InvalidValueError
        where it is too many."""
        if not pairs:
            return {}
        await self._check_room(connection, tenant, owner, pairs)
        await connection.execute(self._insert(tenant, owner, pairs).on_conflict_do_nothing())
        rows = await connection.execute(
            select(self.table.c.key, self.table.c.value).where(
                self._of(tenant, owner), self.table.c.key == any_(texts(pairs.keys()))
            )
        )
        return {row.key: row.value for row in rows}

    async def delete(
        self, connection: AsyncConnection, tenant: Tenant, owner: object, keys: Collection[str]
    ) -> int:
        """How many of the keys there were."""
        if not keys:
            return 0
        result = await connection.execute(
            delete(self.table).where(self._of(tenant, owner), self.table.c.key == any_(texts(keys)))
        )
        return result.rowcount

    async def _check_room(
        self, connection: AsyncConnection, tenant: Tenant, owner: object, pairs: Mapping[str, str]
    ) -> None:
        given = self.table.c.key == any_(texts(pairs.keys()))
        length = func.sum(func.octet_length(self.table.c.value))
        rows = await connection.execute(
            select(
                func.count(),
                func.count().filter(given),
                func.coalesce(length, 0),
                func.coalesce(length.filter(given), 0),
            ).where(self._of(tenant, owner))
        )
        stored, already, bytes_stored, bytes_already = rows.one()
        if len(pairs) > already:
            new = stored + len(pairs) - already
            validation.fits(self.called, self.kind, new, self.limit)
        bytes_given = sum(len(value.encode()) for value in pairs.values())
        if bytes_given > bytes_already:
            new = bytes_stored + bytes_given - bytes_already
            validation.fits(self.called, self.kind, new, MAX_PAIRS_BYTES, unit="bytes of ")

    def _of(self, tenant: Tenant, owner: object) -> ColumnElement[bool]:
        column = self.table.c[self.owner]
        return (self.table.c.tenant_id == tenant.id) & (column == owner)

    def _insert(self, tenant: Tenant, owner: object, pairs: Mapping[str, str]) -> Insert:
        given = (
            func.unnest(texts(pairs.keys()), texts(pairs.values()))
            .table_valued("key", "value", name="given")
            .render_derived()
        )
        rows: Select[Any] = select(
            literal(tenant.id),
            literal(owner, self.table.c[self.owner].type),
            given.c.key,
            given.c.value,
        )
        return upsert(self.table).from_select(["tenant_id", self.owner, "key", "value"], rows)


def texts(values: Iterable[str]) -> ColumnElement[Any]:
    """An array of texts."""
    return literal(list(values), ARRAY(Text))
