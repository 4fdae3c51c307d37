"""Row-level security: the policies that separate tenants, and the application role's grants.

The application role owns no table and reads each through its policy, which compares the row's
tenant with the setting `app.tenant_id`. The setting lasts for one transaction, so a pooled
connection carries nothing over; a transaction that does not set it sees no rows.
"""

from alembic import op
from sqlalchemy import Connection, make_url, text

DEFAULT_APPLICATION_ROLE = "tracking_app"

# Tables without a policy, which only migrations and the owner's functions write.
READ_ONLY = {"tenants", "alembic_version"}

# Tables whose rows the application role may add, and neither change nor delete.
APPEND_ONLY = {"audit_log"}

_OWN_TABLES = """
SELECT oid::regclass::text FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relowner = current_user::regrole
"""
_OWN_FUNCTIONS = """
SELECT oid::regprocedure::text FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND proowner = current_user::regrole
"""

# As a sub-select, Postgres evaluates it once for a statement and not for each row.
CURRENT_TENANT = "(SELECT NULLIF(current_setting('app.tenant_id', true), '')::integer)"


def protect(*tables: str) -> None:
    """For migrations: add the policy to `tables`, enforced for their owner too."""
    for table in tables:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant_isolation ON {table}"
            f" USING (tenant_id = {CURRENT_TENANT}) WITH CHECK (tenant_id = {CURRENT_TENANT})"
        )


def application_role(database_url: str | None) -> str:
    """The role in the URL, that the service connects as."""
    return (make_url(database_url).username if database_url else None) or DEFAULT_APPLICATION_ROLE


def grant(connection: Connection, role: str) -> None:
    """Grant `role` the use of all tables and functions; idempotent, a no-op for their owner.

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
    # One by one, since the schema may contain objects of extensions, which others own.
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
