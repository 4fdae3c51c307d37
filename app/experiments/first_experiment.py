"""The experiment of a tenant that does not exist yet (id 0): experiment 0, as it will begin.

Reading creates no tenant, since whoever may name tenants could fill the database with them.
"""

from typing import Any

from sqlalchemy import BigInteger, Integer, Select, Text, cast, func, literal, null, select

from app.kernel.ids import FIRST_EXPERIMENT_ID, FIRST_EXPERIMENT_NAME
from app.kernel.tenant import NO_TENANT, Tenant

_NOW_MS = cast(func.floor(func.extract("epoch", func.now()) * 1000), BigInteger)

# In a statement with this common table expression, its name means it and not the table.
_EXPERIMENTS = select(
    literal(NO_TENANT.id, Integer).label("tenant_id"),
    literal(FIRST_EXPERIMENT_ID, BigInteger).label("experiment_id"),
    literal(FIRST_EXPERIMENT_NAME, Text).label("name"),
    cast(null(), Text).label("artifact_location"),
    _NOW_MS.label("creation_time"),
    _NOW_MS.label("last_update_time"),
    cast(null(), BigInteger).label("deleted_time"),
).cte("experiments")


def with_first_experiment(
    tenant: Tenant, statement: Select[*tuple[Any, ...]]
) -> Select[*tuple[Any, ...]]:
    """The statement, which for a tenant with id 0 finds its experiment 0 in `experiments`."""
    return statement if tenant.id else statement.add_cte(_EXPERIMENTS)
