"""The audit log, which is append-only for the application role."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app.db import rls

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# A transaction of an operator reads every tenant's events after it sets app.audit to 'all'.
OPERATORS_POLICY = """
CREATE POLICY shown_to_operators ON audit_log FOR SELECT
USING ((SELECT current_setting('app.audit', true)) = 'all')
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


def downgrade() -> None:
    op.drop_table("audit_log")
