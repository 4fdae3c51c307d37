"""The model registry: registered models, their versions, tags and aliases."""

import sqlalchemy as sa
from alembic import op

from app.db import rls

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TENANT_TABLES = (
    "model_version_tags",
    "model_versions",
    "registered_model_aliases",
    "registered_model_tags",
    "registered_models",
)


def upgrade() -> None:
    op.create_table(
        "registered_models",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("registered_model_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("creation_time", sa.BigInteger(), nullable=False),
        sa.Column("last_updated_time", sa.BigInteger(), nullable=False),
        sa.Column("last_version", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("registered_models_tenants_fkey")
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "registered_model_id", name=op.f("registered_models_pkey")
        ),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("registered_models_tenant_id_name_key")),
    )
    op.create_table(
        "registered_model_tags",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("registered_model_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "registered_model_id"],
            ["registered_models.tenant_id", "registered_models.registered_model_id"],
            name=op.f("registered_model_tags_registered_models_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "registered_model_id", "key", name=op.f("registered_model_tags_pkey")
        ),
    )
    op.create_table(
        "model_versions",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("registered_model_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("creation_time", sa.BigInteger(), nullable=False),
        sa.Column("last_updated_time", sa.BigInteger(), nullable=False),
        sa.Column("current_stage", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("storage_location", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("run_link", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "current_stage IN ('None', 'Staging', 'Production', 'Archived')",
            name=op.f("model_versions_current_stage_check"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "registered_model_id"],
            ["registered_models.tenant_id", "registered_models.registered_model_id"],
            name=op.f("model_versions_registered_models_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "version_id", name=op.f("model_versions_pkey")),
        sa.UniqueConstraint(
            "tenant_id",
            "registered_model_id",
            "version",
            name=op.f("model_versions_tenant_id_registered_model_id_version_key"),
        ),
    )
    op.create_table(
        "model_version_tags",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "version_id"],
            ["model_versions.tenant_id", "model_versions.version_id"],
            name=op.f("model_version_tags_model_versions_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "version_id", "key", name=op.f("model_version_tags_pkey")
        ),
    )
    op.create_table(
        "registered_model_aliases",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("registered_model_id", sa.Uuid(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "registered_model_id"],
            ["registered_models.tenant_id", "registered_models.registered_model_id"],
            name=op.f("registered_model_aliases_registered_models_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "version_id"],
            ["model_versions.tenant_id", "model_versions.version_id"],
            name=op.f("registered_model_aliases_model_versions_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "registered_model_id", "alias", name=op.f("registered_model_aliases_pkey")
        ),
    )
    op.create_index(
        "registered_model_aliases_version_idx",
        "registered_model_aliases",
        ["tenant_id", "version_id"],
        unique=False,
    )
    rls.protect(*TENANT_TABLES)


def downgrade() -> None:
    op.drop_index("registered_model_aliases_version_idx", table_name="registered_model_aliases")
    op.drop_table("registered_model_aliases")
    op.drop_table("model_version_tags")
    op.drop_table("model_versions")
    op.drop_table("registered_model_tags")
    op.drop_table("registered_models")
