"""Artifacts: an object per upload, checksums, used bytes; metric series that gc has to purge."""

import sqlalchemy as sa
from alembic import op

from app.db import rls

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# A trigger per statement, not per row: deleting a thousand files then updates the counter once. The
# counter of a tenant is spread over 16 slots, so that its uploads do not wait for each other's
# commit on one row. Only the sum of the slots is meaningful; a single slot can be negative.
COUNT_ARTIFACT_BYTES = """
CREATE FUNCTION count_artifact_bytes() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    its_tenant integer;
    added bigint;
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT min(tenant_id), sum(size) INTO its_tenant, added FROM new_rows;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT min(tenant_id), -sum(size) INTO its_tenant, added FROM old_rows;
    ELSE
        SELECT min(tenant_id), sum(size) - (SELECT sum(size) FROM old_rows) INTO its_tenant, added
        FROM new_rows;
    END IF;
    IF added <> 0 THEN
        INSERT INTO artifact_usage AS u (tenant_id, slot, bytes)
        VALUES (its_tenant, pg_backend_pid() % 16, added)
        ON CONFLICT (tenant_id, slot) DO UPDATE SET bytes = u.bytes + EXCLUDED.bytes;
    END IF;
    RETURN NULL;
END
$$
"""
TRIGGERS = {
    "insert": "REFERENCING NEW TABLE AS new_rows",
    "update": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "delete": "REFERENCING OLD TABLE AS old_rows",
}

COUNT_WHAT_IS_THERE = """
INSERT INTO artifact_usage (tenant_id, slot, bytes)
SELECT tenant_id, 0, sum(size) FROM artifacts GROUP BY tenant_id
"""

# As in 0003, with two differences. The audit log stays. Tables with administrative rows (`about`)
# do not count as contents, so that an otherwise empty tenant can be deleted. They are deleted last,
# because deleting artifacts writes to a counter among them.
DELETE_TENANT = """
CREATE OR REPLACE FUNCTION delete_tenant(its_slug text, with_contents boolean) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    its_id integer;
    its_table text;
    about text[] := ARRAY[
        'metric_series_counters', 'api_keys', 'tenant_usage', 'artifact_usage', 'purged_series'
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
    op.add_column("artifacts", sa.Column("object_id", sa.Uuid(), nullable=True))
    op.add_column("artifacts", sa.Column("sha256", sa.LargeBinary(), nullable=True))
    op.create_table(
        "artifact_usage",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("slot", sa.SmallInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("artifact_usage_tenants_fkey")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "slot", name=op.f("artifact_usage_pkey")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "purged_series",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("purged_series_tenants_fkey")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "series_id", name=op.f("purged_series_pkey")),
    )
    # Row-level security is forced on the owner as well, and would hide every row from it here.
    op.execute("ALTER TABLE artifacts NO FORCE ROW LEVEL SECURITY")
    op.execute(COUNT_WHAT_IS_THERE)
    op.execute("ALTER TABLE artifacts FORCE ROW LEVEL SECURITY")
    rls.protect("artifact_usage", "purged_series")
    op.execute(COUNT_ARTIFACT_BYTES)
    for event, tables in TRIGGERS.items():
        op.execute(
            f"CREATE TRIGGER count_bytes_on_{event} AFTER {event} ON artifacts {tables}"
            " FOR EACH STATEMENT EXECUTE FUNCTION count_artifact_bytes()"
        )
    op.execute(DELETE_TENANT)


def downgrade() -> None:
    """Deletes the rows of files that were logged since the upgrade, which the older index cannot
    hold. Their objects stay in the store. `delete_tenant` stays: it finds the tables that exist.
    """
    for event in TRIGGERS:
        op.execute(f"DROP TRIGGER count_bytes_on_{event} ON artifacts")
    op.execute("DROP FUNCTION count_artifact_bytes()")
    op.drop_table("purged_series")
    op.drop_table("artifact_usage")
    op.execute("ALTER TABLE artifacts NO FORCE ROW LEVEL SECURITY")
    op.execute("DELETE FROM artifacts WHERE object_id IS NOT NULL")
    op.execute("ALTER TABLE artifacts FORCE ROW LEVEL SECURITY")
    op.drop_column("artifacts", "sha256")
    op.drop_column("artifacts", "object_id")
