"""EXISTS conditions on child tables, and the compiled filter that holds them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement

from app.kernel.tenant import Tenant
from app.search.child_tables import ChildTable, OwnerId
from app.search.predicates import Predicate

# Postgres turns an EXISTS into a join, and may then start with the rarest value. But the time and
# the memory to plan joins explode: 8 take 40 ms, 30 a second, 100 more than 20 GB.
MAX_JOINED = 4


@dataclass(frozen=True)
class ExistsCondition:
    """That an owner has a row of `key` whose value meets all predicates, or has none if `negated`.

    `equal_text` is the text that the value has to be, where the filter names one.
    """

    child_table: ChildTable
    key: str
    predicates: tuple[Predicate, ...] = ()
    negated: bool = False
    equal_text: str | None = None

    def sql(self, tenant: Tenant, owner_id: OwnerId, *, joinable: bool) -> ColumnElement[bool]:
        """`joinable`: whether Postgres may turn the EXISTS into a join."""
        rows = self.child_table.rows(tenant, owner_id, self.key, self.predicates)
        # Postgres leaves a subquery with an OFFSET as it is, and evaluates it for each row.
        found = rows.exists() if joinable else rows.offset(0).exists()
        return ~found if self.negated else found


@dataclass(frozen=True)
class CompiledFilter:
    """The conditions of a filter: on the entity's own columns, and on its child tables."""

    tenant: Tenant
    columns: Sequence[ColumnElement[bool]]
    exists: Sequence[ExistsCondition]

    def where(
        self, owner_id: OwnerId, *, max_joined: int = MAX_JOINED
    ) -> list[ColumnElement[bool]]:
        """All conditions on the entity that `owner_id` identifies. Postgres may turn the first
        `max_joined` EXISTS into joins."""
        return [
            *self.columns,
            *(
                condition.sql(self.tenant, owner_id, joinable=place < max_joined)
                for place, condition in enumerate(self.exists)
            ),
        ]

    def without(self, conditions: Sequence[ExistsCondition]) -> "CompiledFilter":
        """The filter without those of its EXISTS conditions."""
        rest = [condition for condition in self.exists if condition not in conditions]
        return replace(self, exists=rest)
