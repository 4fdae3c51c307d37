"""The audit log: rows are added to it, and stay."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app.db import rls

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# An operator reads the log of every tenant by saying so in the transaction.
OPERATORS_POLICY = """
CREATE POLICY shown_to_operators ON audit_log FOR SELECT
USING ((SELECT current_setting('app.audit', true)) = 'all')
"""

# What is deleted with a tenant, and counts as its contents: every table of tenants but the log.
TABLES = "WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
TABLES_BUT_THE_LOG = f"{TABLES} AND c.relname <> 'audit_log'"

# As in migration 0005 but for the tables.
DELETE_TENANT = """
CREATE OR REPLACE FUNCTION delete_tenant(its_slug text, with_contents boolean) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    its_id integer;
    its_table text;
    its_tables text[] := array(
        SELECT c.relname FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
        {tables}
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
        FOREACH its_table IN ARRAY its_tables LOOP
            CONTINUE WHEN its_table = ANY ('{{metric_series_counters,api_keys,tenant_usage}}');
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
    op.create_table(
        "audit_log",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("created_time", sa.BigInteger(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("details", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "event_id", name=op.f("audit_log_pkey")),
    )
    rls.protect("audit_log")
    op.execute(OPERATORS_POLICY)
    op.execute(DELETE_TENANT.format(tables=TABLES_BUT_THE_LOG))


def downgrade() -> None:
    op.execute(DELETE_TENANT.format(tables=TABLES))
    op.drop_table("audit_log")
