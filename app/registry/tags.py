"""The tags of registered models and of their versions, in SQL: two tables of one shape."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Table,
    Text,
    Uuid,
    delete,
    func,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.registry.models import ModelVersion, ModelVersionTag, RegisteredModel, RegisteredModelTag
from app.tenancy.tenant import Tenant


@dataclass(frozen=True)
class Tags:
    """The tags of the rows of `owners`, whose id is the column `owner` in both tables."""

    table: Table
    owners: Table
    owner: str

    def as_object(self) -> ScalarSelect[Any]:
        """The tags of a row of `owners`, for a statement that reads it, as one JSON object; not
        jsonb, which has an order of its own."""
        tags = self.table.c
        return (
            select(
                func.coalesce(
                    func.json_object_agg(tags.key, aggregate_order_by(tags.value, tags.key)),
                    func.json_build_object(),
                )
            )
            .where(
                tags.tenant_id == self.owners.c.tenant_id,
                tags[self.owner] == self.owners.c[self.owner],
            )
            .scalar_subquery()
        )

    async def set(
        self, connection: AsyncConnection, tenant: Tenant, owner: UUID, tags: Mapping[str, str]
    ) -> None:
        if not tags:
            return
        # As arrays: Postgres takes at most 65,535 parameters.
        given = (
            func.unnest(_array(tags.keys()), _array(tags.values()))
            .table_valued("key", "value", name="given")
            .render_derived()
        )
        statement = upsert(self.table).from_select(
            ["tenant_id", self.owner, "key", "value"],
            select(literal(tenant.id), literal(owner, Uuid), given.c.key, given.c.value),
        )
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=["tenant_id", self.owner, "key"],
                set_={"value": statement.excluded.value},
            )
        )

    async def delete(
        self, connection: AsyncConnection, tenant: Tenant, owner: UUID, key: str
    ) -> None:
        tags = self.table.c
        await connection.execute(
            delete(self.table).where(
                tags.tenant_id == tenant.id, tags[self.owner] == owner, tags.key == key
            )
        )


def _array(values: Iterable[str]) -> ColumnElement[Any]:
    return literal(list(values), ARRAY(Text))


MODEL_TAGS = Tags(
    cast(Table, RegisteredModelTag.__table__),
    cast(Table, RegisteredModel.__table__),
    "registered_model_id",
)
VERSION_TAGS = Tags(
    cast(Table, ModelVersionTag.__table__), cast(Table, ModelVersion.__table__), "version_id"
)
