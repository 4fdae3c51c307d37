"""Checks whether row-level security applies to the role that the service connects as."""

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
    """`bypasses`: the policies do not apply to the role. `owns`: it could drop them."""

    name: str
    bypasses: bool
    owns: bool


def inspect(url: str) -> RoleState:
    """The state of the role in `url`. Raises psycopg.OperationalError if it cannot connect."""
    with psycopg.connect(url) as connection:
        row = connection.execute(_STATE).fetchone()
    assert row is not None
    return RoleState(*row)
