"""Indexes that searches walk: the values of params and tags, and the latest values of metrics."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# What ended is at rest. The policies hold the owner, too, to one tenant at a time.
SETTLE = """
DO $$
DECLARE
    its_id integer;
BEGIN
    FOR its_id IN SELECT id FROM tenants LOOP
        PERFORM set_config('app.tenant_id', its_id::text, true);
        UPDATE metric_series s SET settled_value = s.last_value
        FROM runs r
        WHERE s.tenant_id = its_id AND r.tenant_id = its_id AND r.run_id = s.run_id
            AND r.status IN ('FINISHED', 'FAILED', 'KILLED');
    END LOOP;
    PERFORM set_config('app.tenant_id', '', true);
END
$$
"""


def upgrade() -> None:
    op.add_column("metric_series", sa.Column("settled_value", sa.Double(), nullable=True))
    op.execute(SETTLE)
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
