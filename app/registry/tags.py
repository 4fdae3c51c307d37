"""The tags of registered models and of their versions, in SQL: two tables of one shape."""

from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ScalarSelect, Table, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from app import validation
from app.db.pairs import Pairs
from app.registry.models import ModelVersion, ModelVersionTag, RegisteredModel, RegisteredModelTag


@dataclass(frozen=True, kw_only=True)
class Tags(Pairs):
    """The tags of the rows of `owners`, whose id is the column `owner` in both tables."""

    owners: Table
    kind: str = "tags"
    limit: int = validation.MAX_TAGS

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


MODEL_TAGS = Tags(
    table=cast(Table, RegisteredModelTag.__table__),
    owners=cast(Table, RegisteredModel.__table__),
    owner="registered_model_id",
    called="A registered model",
)
VERSION_TAGS = Tags(
    table=cast(Table, ModelVersionTag.__table__),
    owners=cast(Table, ModelVersion.__table__),
    owner="version_id",
    called="A model version",
)
