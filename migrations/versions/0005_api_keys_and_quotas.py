"""API keys, and tenants' quotas with their daily usage."""

import sqlalchemy as sa
from alembic import op

from app.db import rls

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TENANT_TABLES = ("api_keys", "tenant_usage")
QUOTAS = ("requests_per_second", "points_per_day", "max_runs", "max_artifact_bytes")

# Runs as the owner, like describe_tenant. A quota that `changes` leaves out stays as it is; a quota
# that it sets to null is removed.
LIMIT_TENANT = """
CREATE FUNCTION limit_tenant(its_slug text, changes jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE tenants SET
        requests_per_second = CASE WHEN changes ? 'requests_per_second'
            THEN (changes ->> 'requests_per_second')::integer ELSE requests_per_second END,
        points_per_day = CASE WHEN changes ? 'points_per_day'
            THEN (changes ->> 'points_per_day')::bigint ELSE points_per_day END,
        max_runs = CASE WHEN changes ? 'runs'
            THEN (changes ->> 'runs')::bigint ELSE max_runs END,
        max_artifact_bytes = CASE WHEN changes ? 'artifact_bytes'
            THEN (changes ->> 'artifact_bytes')::bigint ELSE max_artifact_bytes END
    WHERE slug = its_slug;
    RETURN FOUND;
END
$$
"""


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("creation_time", sa.BigInteger(), nullable=False),
        sa.Column("expiry_time", sa.BigInteger(), nullable=True),
        sa.Column("revoked_time", sa.BigInteger(), nullable=True),
        sa.Column("last_used_time", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("role IN ('read', 'write', 'admin')", name=op.f("api_keys_role_check")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("api_keys_tenants_fkey")),
        sa.PrimaryKeyConstraint("tenant_id", "key_id", name=op.f("api_keys_pkey")),
    )
    op.create_table(
        "tenant_usage",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("tenant_usage_tenants_fkey")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "day", name=op.f("tenant_usage_pkey")),
    )
    rls.protect(*TENANT_TABLES)
    op.add_column("tenants", sa.Column("requests_per_second", sa.Integer(), nullable=True))
    op.add_column("tenants", sa.Column("points_per_day", sa.BigInteger(), nullable=True))
    op.add_column("tenants", sa.Column("max_runs", sa.BigInteger(), nullable=True))
    op.add_column("tenants", sa.Column("max_artifact_bytes", sa.BigInteger(), nullable=True))
    op.execute(LIMIT_TENANT)
    op.execute("REVOKE EXECUTE ON FUNCTION limit_tenant(text, jsonb) FROM PUBLIC")


def downgrade() -> None:
    op.execute("DROP FUNCTION limit_tenant(text, jsonb)")
    for quota in reversed(QUOTAS):
        op.drop_column("tenants", quota)
    op.drop_table("tenant_usage")
    op.drop_table("api_keys")
