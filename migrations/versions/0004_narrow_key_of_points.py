"""Replaces the primary key over all columns of metric_points by a narrower index."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Row-level security is forced on the owner as well. The migration lifts that for these tables,
# because it has to see the rows of all tenants.
TABLES = ("metric_points", "metric_series")


def upgrade() -> None:
    _force_row_security(False)
    op.add_column("metric_series", sa.Column("max_timestamp", sa.BigInteger(), nullable=True))
    op.execute(
        """
        UPDATE metric_series s SET max_timestamp = (
            SELECT max(p.timestamp) FROM metric_points p
            WHERE p.tenant_id = s.tenant_id AND p.series_id = s.series_id
        )
        """
    )
    op.alter_column("metric_series", "max_timestamp", nullable=False)
    op.drop_constraint("metric_points_pkey", "metric_points")
    op.create_index(
        "metric_points_series_idx", "metric_points", ["tenant_id", "series_id", "timestamp"]
    )
    # Without a primary key, logical replication identifies deleted rows by all of their columns.
    op.execute("ALTER TABLE metric_points REPLICA IDENTITY FULL")
    # Every flush updates rows of these tables, so autovacuum has to run long before its default
    # threshold of a fifth dead rows.
    for table in ("metric_series", "runs"):
        op.execute(
            f"ALTER TABLE {table} SET"
            " (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000)"
        )
    _force_row_security(True)


def downgrade() -> None:
    _force_row_security(False)
    for table in ("metric_series", "runs"):
        op.execute(
            f"ALTER TABLE {table} RESET"
            " (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold)"
        )
    op.execute("ALTER TABLE metric_points REPLICA IDENTITY DEFAULT")
    op.drop_index("metric_points_series_idx", "metric_points")
    op.create_primary_key(
        "metric_points_pkey",
        "metric_points",
        ["tenant_id", "series_id", "timestamp", "step", "value"],
    )
    op.drop_column("metric_series", "max_timestamp")
    _force_row_security(True)


def _force_row_security(forced: bool) -> None:
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} {'' if forced else 'NO '}FORCE ROW LEVEL SECURITY")
