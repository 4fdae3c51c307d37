"""What a filter asks of the rows that hang on an entity: one look-up for each key."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement

from app.kernel.tenant import Tenant
from app.search.child_tables import Attached, Owner
from app.search.predicates import Predicate

# Postgres turns an EXISTS into a join, and may then begin with the rarest value. But the time and
# the memory to plan joins explode: 8 take 40 ms, 30 a second, 100 more than 20 GB.
MAX_JOINED = 4


@dataclass(frozen=True)
class Lookup:
    """A row of `key` of which all of `values` hold: one that must be there, or must not.

    `equal` is a text that its value has to be, where the filter names one.
    """

    attached: Attached
    key: str
    values: tuple[Predicate, ...] = ()
    wanted: bool = True
    equal: str | None = None

    def exists(self, tenant: Tenant, owner: Owner, *, joined: bool) -> ColumnElement[bool]:
        rows = self.attached.rows(tenant, owner, self.key, self.values)
        # Postgres leaves a subquery with an OFFSET alone: it is evaluated for each row left.
        found = rows.exists() if joined else rows.offset(0).exists()
        return found if self.wanted else ~found


@dataclass(frozen=True)
class Conditions:
    """What must hold of an entity: of its own columns, and of what hangs on it."""

    attributes: Sequence[ColumnElement[bool]]
    lookups: Sequence[Lookup]

    def of(
        self, tenant: Tenant, owner: Owner, *, joined: int = MAX_JOINED
    ) -> list[ColumnElement[bool]]:
        """All of them, where `owner` is the entity's id; so many look-ups may become joins."""
        return [
            *self.attributes,
            *(
                each.exists(tenant, owner, joined=place < joined)
                for place, each in enumerate(self.lookups)
            ),
        ]
