"""Whether the role that serves is one that row-level security binds."""

from dataclasses import dataclass

import psycopg

_STATE = """
SELECT current_user, rolsuper OR rolbypassrls,
    EXISTS (
        SELECT FROM pg_class c
        WHERE c.oid = to_regclass('tenants') AND pg_has_role(c.relowner, 'MEMBER')
    )
FROM pg_roles WHERE rolname = current_user
"""


@dataclass(frozen=True)
class RoleState:
    """`bypasses`: the policies do not apply to it. `owns`: it could take them away."""

    name: str
    bypasses: bool
    owns: bool


def inspect(url: str) -> RoleState:
    """What the role may do that `url` connects as. Raises psycopg.OperationalError."""
    with psycopg.connect(url) as connection:
        row = connection.execute(_STATE).fetchone()
    assert row is not None
    return RoleState(*row)
