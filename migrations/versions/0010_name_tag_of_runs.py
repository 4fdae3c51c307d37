"""Whether a run shows its name as the tag `mlflow.runName`, which can be deleted as in MLflow."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A constant default: Postgres does not rewrite the table.
    op.add_column(
        "runs",
        sa.Column("has_name_tag", sa.Boolean(), server_default=sa.text("true"), nullable=False),
    )


def downgrade() -> None:
    """Tags that were deleted are shown again."""
    op.drop_column("runs", "has_name_tag")
