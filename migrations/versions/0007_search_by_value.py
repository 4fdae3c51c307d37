"""Indexes for run search: values of params and tags, and latest values of metrics."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Sets settled_value, the indexed latest value, for runs that have ended. While a run logs, its
# series have none, so that logging does not update the index.
SETTLE = """
UPDATE metric_series s SET settled_value = s.last_value
FROM runs r
WHERE r.tenant_id = s.tenant_id AND r.run_id = s.run_id
    AND r.status IN ('FINISHED', 'FAILED', 'KILLED')
"""


def upgrade() -> None:
    op.add_column("metric_series", sa.Column("settled_value", sa.Double(), nullable=True))
    # Row-level security is forced on the owner as well, which has to see the rows of all tenants
    # here.
    for table in ("metric_series", "runs"):
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute(SETTLE)
    for table in ("metric_series", "runs"):
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.create_index(
        "metric_series_settled_idx",
        "metric_series",
        ["tenant_id", "key", "settled_value", "run_id"],
        postgresql_where=sa.text("settled_value IS NOT NULL"),
    )
    op.create_index(
        "metric_series_unsettled_idx",
        "metric_series",
        ["tenant_id", "key", "run_id"],
        postgresql_where=sa.text("settled_value IS NULL"),
    )
    for table in ("params", "run_tags"):
        op.create_index(
            f"{table}_value_idx",
            table,
            ["tenant_id", "key", "value", "run_id"],
            postgresql_ops={"value": "text_pattern_ops"},
            postgresql_where=sa.text("octet_length(value) <= 200"),
        )


def downgrade() -> None:
    for table in ("run_tags", "params"):
        op.drop_index(f"{table}_value_idx", table)
    op.drop_index("metric_series_unsettled_idx", "metric_series")
    op.drop_index("metric_series_settled_idx", "metric_series")
    op.drop_column("metric_series", "settled_value")
