"""Functions that describe and delete a tenant, as MLflow describes and deletes a workspace."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# These functions run as the owner, like create_tenant: the application role can only read
# `tenants`.
DESCRIBE_TENANT = """
CREATE FUNCTION describe_tenant(its_slug text, new_description text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE tenants SET description = new_description WHERE slug = its_slug;
    RETURN FOUND;
END
$$
"""

# The row lock on the tenant waits for every transaction that writes a row of the tenant, and blocks
# later ones. Experiments are deleted first: this locks their runs, so that the write path cannot
# add points during the deletion (points have no foreign key). Tables that later migrations add are
# found by their column tenant_id. Returns NULL after the deletion, 'absent' if there is no such
# tenant, and otherwise the first table that is not empty, with its count: 'runs: 3'.
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
