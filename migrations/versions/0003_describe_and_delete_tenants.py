"""Tenants can be described and deleted, as MLflow's workspaces can."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Like create_tenant, the owner's functions, since the application role only reads the directory.
DESCRIBE_TENANT = """
CREATE FUNCTION describe_tenant(its_slug text, new_description text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE tenants SET description = new_description WHERE slug = its_slug;
    RETURN FOUND;
END
$$
"""

# The lock on the tenant's row waits for every transaction that writes a row for it, and holds up
# those that would. Experiments go first: their runs' locks are what keeps the write path from
# adding points, which have no foreign key, behind the deletion's back. A table that a later
# migration adds is found by its tenant column. Answers NULL once the tenant is gone, 'absent' where
# there was none, and otherwise what it still holds, as 'runs: 3'.
DELETE_TENANT = """
CREATE FUNCTION delete_tenant(its_slug text, with_contents boolean) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    its_id integer;
    its_table text;
    its_tables text[] := array(
        SELECT c.relname FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
        WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
        ORDER BY c.relname <> 'experiments', c.relname
    );
    held bigint;
BEGIN
    SELECT id INTO its_id FROM tenants WHERE slug = its_slug FOR UPDATE;
    IF its_id IS NULL THEN
        RETURN 'absent';
    END IF;
    PERFORM set_config('app.tenant_id', its_id::text, true);
    IF NOT with_contents THEN
        FOREACH its_table IN ARRAY array_remove(its_tables, 'metric_series_counters') LOOP
            EXECUTE 'SELECT count(*) FROM ' || quote_ident(its_table) || ' WHERE tenant_id = $1'
            INTO held USING its_id;
            -- Every tenant has one experiment, which came with it.
            IF held > (its_table = 'experiments')::integer THEN
                RETURN its_table || ': ' || held;
            END IF;
        END LOOP;
    END IF;
    FOREACH its_table IN ARRAY its_tables LOOP
        EXECUTE 'DELETE FROM ' || quote_ident(its_table) || ' WHERE tenant_id = $1' USING its_id;
    END LOOP;
    DELETE FROM tenants WHERE id = its_id;
    RETURN NULL;
END
$$
"""


def upgrade() -> None:
    op.add_column("tenants", sa.Column("description", sa.Text(), nullable=True))
    for function in (DESCRIBE_TENANT, DELETE_TENANT):
        op.execute(function)
    op.execute("REVOKE EXECUTE ON FUNCTION describe_tenant(text, text) FROM PUBLIC")
    op.execute("REVOKE EXECUTE ON FUNCTION delete_tenant(text, boolean) FROM PUBLIC")


def downgrade() -> None:
    op.execute("DROP FUNCTION delete_tenant(text, boolean)")
    op.execute("DROP FUNCTION describe_tenant(text, text)")
    op.drop_column("tenants", "description")
