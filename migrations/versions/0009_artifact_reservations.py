"""Reservations of a tenant's quota of artifact bytes, for uploads in progress."""

import sqlalchemy as sa
from alembic import op

from app.db import rls

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# As in 0008, with reservations among the administrative tables.
DELETE_TENANT = """
CREATE OR REPLACE FUNCTION delete_tenant(its_slug text, with_contents boolean) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    its_id integer;
    its_table text;
    about text[] := ARRAY[
        'metric_series_counters', 'api_keys', 'tenant_usage', 'artifact_usage', 'purged_series',
        'artifact_reservations'
    ];
    its_tables text[] := array(
        SELECT c.relname FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
        WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
            AND c.relname <> 'audit_log'
        ORDER BY c.relname <> 'experiments', c.relname = ANY(about), c.relname
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
            CONTINUE WHEN its_table = ANY(about);
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
        "artifact_reservations",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("object_id", sa.Uuid(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("expiry_time", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("artifact_reservations_tenants_fkey")
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "object_id", "part", name=op.f("artifact_reservations_pkey")
        ),
    )
    rls.protect("artifact_reservations")
    op.execute(DELETE_TENANT)


def downgrade() -> None:
    """`delete_tenant` stays: it finds the tables that exist."""
    op.drop_table("artifact_reservations")
