"""Row-level security: the second wall between tenants, and the grants that make it one.

The application role owns nothing and reads a table through its policy, which compares each row's
tenant with `app.tenant_id`. That is set per transaction, so a pooled connection carries nothing
over. A transaction that sets none sees no rows at all.
"""

from alembic import op
from sqlalchemy import Connection, make_url, text

DEFAULT_APPLICATION_ROLE = "tracking_app"

# The directory of tenants has no policy to hide behind: only the owner's functions write it.
READ_ONLY = {"tenants", "alembic_version"}

# Rows may be added to it, and stay as they are.
APPEND_ONLY = {"audit_log"}

_OWN_TABLES = """
SELECT oid::regclass::text FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relowner = current_user::regrole
"""
_OWN_FUNCTIONS = """
SELECT oid::regprocedure::text FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND proowner = current_user::regrole
"""

# The sub-select makes it one evaluation a statement and not one a row.
CURRENT_TENANT = "(SELECT NULLIF(current_setting('app.tenant_id', true), '')::integer)"


def protect(*tables: str) -> None:
    """For migrations: put `tables` under a policy that even their owner is subject to."""
    for table in tables:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant_isolation ON {table}"
            f" USING (tenant_id = {CURRENT_TENANT}) WITH CHECK (tenant_id = {CURRENT_TENANT})"
        )


def application_role(database_url: str | None) -> str:
    """The role that the service connects as."""
    return (make_url(database_url).username if database_url else None) or DEFAULT_APPLICATION_ROLE


def grant(connection: Connection, role: str) -> None:
    """Let `role` use the schema as it now stands; safe to repeat, a no-op for the owner itself.

    It runs after every migration, so that no migration has to know the role's name.
    """
    exists, owner = connection.execute(
        text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :role), current_user = :role"),
        {"role": role},
    ).one()
    if not exists or owner:
        return
    quoted = connection.dialect.identifier_preparer.quote(role)
    connection.execute(text(f"GRANT USAGE ON SCHEMA public TO {quoted}"))
    # By name: what an extension put into the schema is not this role's to grant.
    for table in connection.scalars(text(_OWN_TABLES)).all():
        connection.execute(text(f"GRANT {_rights(table)} ON {table} TO {quoted}"))
    for function in connection.scalars(text(_OWN_FUNCTIONS)).all():
        connection.execute(text(f"GRANT EXECUTE ON FUNCTION {function} TO {quoted}"))


def _rights(table: str) -> str:
    if table in READ_ONLY:
        return "SELECT"
    if table in APPEND_ONLY:
        return "SELECT, INSERT"
    return "SELECT, INSERT, UPDATE, DELETE"
