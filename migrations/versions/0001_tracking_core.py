"""The tracking core: tenants, experiments, runs, metrics, logged models, artifacts."""

import sqlalchemy as sa
from alembic import op

from app.db import rls

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TENANT_TABLES = (
    "artifacts",
    "datasets",
    "experiment_tags",
    "experiments",
    "input_tags",
    "inputs",
    "logged_model_metrics",
    "logged_model_params",
    "logged_model_tags",
    "logged_models",
    "metric_points",
    "metric_series",
    "metric_series_counters",
    "params",
    "run_models",
    "run_tags",
    "runs",
)

# Creates a tenant, with the experiment 0 that `mlflow.start_run()` uses if no experiment is named.
# The function runs as the owner (SECURITY DEFINER), because the application role cannot write to
# `tenants`. It switches the transaction to the new tenant.
CREATE_TENANT = """
CREATE FUNCTION create_tenant(new_slug text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    new_id integer;
    now_ms bigint := floor(extract(epoch FROM clock_timestamp()) * 1000);
BEGIN
    INSERT INTO tenants (slug) VALUES (new_slug) RETURNING id INTO new_id;
    PERFORM set_config('app.tenant_id', new_id::text, true);
    INSERT INTO experiments (tenant_id, experiment_id, name, creation_time, last_update_time)
    VALUES (new_id, 0, 'Default', now_ms, now_ms);
    RETURN new_id;
END
$$
"""


def upgrade() -> None:
    op.create_table(
        "metric_points",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("timestamp", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.DOUBLE_PRECISION(), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant_id", "series_id", "timestamp", "step", "value", name=op.f("metric_points_pkey")
        ),
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("tenants_pkey")),
        sa.UniqueConstraint("slug", name=op.f("tenants_slug_key")),
    )
    op.create_table(
        "artifacts",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(collation="C"), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("updated_time", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("artifacts_tenants_fkey")),
        sa.PrimaryKeyConstraint("tenant_id", "path", name=op.f("artifacts_pkey")),
    )
    op.create_table(
        "experiments",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("experiment_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("artifact_location", sa.Text(), nullable=True),
        sa.Column("creation_time", sa.BigInteger(), nullable=False),
        sa.Column("last_update_time", sa.BigInteger(), nullable=False),
        sa.Column("deleted_time", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("experiments_tenants_fkey")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "experiment_id", name=op.f("experiments_pkey")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("experiments_tenant_id_name_key")),
    )
    op.create_table(
        "metric_series_counters",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("last_series_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("metric_series_counters_tenants_fkey")
        ),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("metric_series_counters_pkey")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "datasets",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Uuid(), nullable=False),
        sa.Column("experiment_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("source_type", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=True),
        sa.Column("profile", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "experiment_id"],
            ["experiments.tenant_id", "experiments.experiment_id"],
            name=op.f("datasets_experiments_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "dataset_id", name=op.f("datasets_pkey")),
        sa.UniqueConstraint(
            "tenant_id",
            "experiment_id",
            "name",
            "digest",
            name=op.f("datasets_tenant_id_experiment_id_name_digest_key"),
        ),
    )
    op.create_table(
        "experiment_tags",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("experiment_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "experiment_id"],
            ["experiments.tenant_id", "experiments.experiment_id"],
            name=op.f("experiment_tags_experiments_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "experiment_id", "key", name=op.f("experiment_tags_pkey")
        ),
    )
    op.create_table(
        "logged_models",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("experiment_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("model_type", sa.Text(), nullable=True),
        sa.Column("source_run_id", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("creation_time", sa.BigInteger(), nullable=False),
        sa.Column("last_updated_time", sa.BigInteger(), nullable=False),
        sa.Column("deleted_time", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "status IN ('LOGGED_MODEL_PENDING', 'LOGGED_MODEL_READY',"
            " 'LOGGED_MODEL_UPLOAD_FAILED')",
            name=op.f("logged_models_status_check"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "experiment_id"],
            ["experiments.tenant_id", "experiments.experiment_id"],
            name=op.f("logged_models_experiments_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "model_id", name=op.f("logged_models_pkey")),
    )
    op.create_index(
        "logged_models_newest_idx",
        "logged_models",
        ["tenant_id", "experiment_id", sa.literal_column("creation_time DESC"), "model_id"],
        unique=False,
    )
    op.create_table(
        "runs",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("experiment_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("start_time", sa.BigInteger(), nullable=False),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.Column("deleted_time", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "status IN ('RUNNING', 'SCHEDULED', 'FINISHED', 'FAILED', 'KILLED')",
            name=op.f("runs_status_check"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "experiment_id"],
            ["experiments.tenant_id", "experiments.experiment_id"],
            name=op.f("runs_experiments_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", name=op.f("runs_pkey")),
        postgresql_with={"fillfactor": 80},
    )
    op.create_index(
        "runs_newest_idx",
        "runs",
        ["tenant_id", "experiment_id", sa.literal_column("start_time DESC"), "run_id"],
        unique=False,
    )
    op.create_table(
        "inputs",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("dataset_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "dataset_id"],
            ["datasets.tenant_id", "datasets.dataset_id"],
            name=op.f("inputs_datasets_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"],
            ["runs.tenant_id", "runs.run_id"],
            name=op.f("inputs_runs_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "dataset_id", name=op.f("inputs_pkey")),
    )
    op.create_index("inputs_dataset_idx", "inputs", ["tenant_id", "dataset_id"], unique=False)
    op.create_table(
        "logged_model_metrics",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("timestamp", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("value", sa.DOUBLE_PRECISION(), nullable=False),
        sa.Column("dataset_name", sa.Text(), nullable=True),
        sa.Column("dataset_digest", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "model_id"],
            ["logged_models.tenant_id", "logged_models.model_id"],
            name=op.f("logged_model_metrics_logged_models_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"],
            ["runs.tenant_id", "runs.run_id"],
            name=op.f("logged_model_metrics_runs_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id",
            "model_id",
            "key",
            "timestamp",
            "step",
            "run_id",
            name=op.f("logged_model_metrics_pkey"),
        ),
    )
    op.create_index(
        "logged_model_metrics_run_idx",
        "logged_model_metrics",
        ["tenant_id", "run_id"],
        unique=False,
    )
    op.create_table(
        "logged_model_params",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "model_id"],
            ["logged_models.tenant_id", "logged_models.model_id"],
            name=op.f("logged_model_params_logged_models_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "model_id", "key", name=op.f("logged_model_params_pkey")
        ),
    )
    op.create_table(
        "logged_model_tags",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "model_id"],
            ["logged_models.tenant_id", "logged_models.model_id"],
            name=op.f("logged_model_tags_logged_models_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "model_id", "key", name=op.f("logged_model_tags_pkey")
        ),
    )
    op.create_table(
        "metric_series",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("last_timestamp", sa.BigInteger(), nullable=False),
        sa.Column("last_value", sa.DOUBLE_PRECISION(), nullable=False),
        sa.Column("point_count", sa.BigInteger(), nullable=False),
        sa.Column("min_value", sa.DOUBLE_PRECISION(), nullable=True),
        sa.Column("max_value", sa.DOUBLE_PRECISION(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"],
            ["runs.tenant_id", "runs.run_id"],
            name=op.f("metric_series_runs_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "series_id", name=op.f("metric_series_pkey")),
        sa.UniqueConstraint(
            "tenant_id", "run_id", "key", name=op.f("metric_series_tenant_id_run_id_key_key")
        ),
        postgresql_with={"fillfactor": 80},
    )
    op.create_table(
        "params",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"],
            ["runs.tenant_id", "runs.run_id"],
            name=op.f("params_runs_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "key", name=op.f("params_pkey")),
    )
    op.create_table(
        "run_models",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("step", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "direction IN ('input', 'output')", name=op.f("run_models_direction_check")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "model_id"],
            ["logged_models.tenant_id", "logged_models.model_id"],
            name=op.f("run_models_logged_models_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"],
            ["runs.tenant_id", "runs.run_id"],
            name=op.f("run_models_runs_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "run_id", "direction", "model_id", name=op.f("run_models_pkey")
        ),
    )
    op.create_index("run_models_model_idx", "run_models", ["tenant_id", "model_id"], unique=False)
    op.create_table(
        "run_tags",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"],
            ["runs.tenant_id", "runs.run_id"],
            name=op.f("run_tags_runs_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "key", name=op.f("run_tags_pkey")),
    )
    op.create_table(
        "input_tags",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("dataset_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id", "dataset_id"],
            ["inputs.tenant_id", "inputs.run_id", "inputs.dataset_id"],
            name=op.f("input_tags_inputs_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "run_id", "dataset_id", "key", name=op.f("input_tags_pkey")
        ),
    )
    rls.protect(*TENANT_TABLES)
    op.execute(CREATE_TENANT)
    op.execute("REVOKE EXECUTE ON FUNCTION create_tenant(text) FROM PUBLIC")


def downgrade() -> None:
    op.execute("DROP FUNCTION create_tenant(text)")
    op.drop_table("input_tags")
    op.drop_table("run_tags")
    op.drop_index("run_models_model_idx", table_name="run_models")
    op.drop_table("run_models")
    op.drop_table("params")
    op.drop_table("metric_series")
    op.drop_table("logged_model_tags")
    op.drop_table("logged_model_params")
    op.drop_index("logged_model_metrics_run_idx", table_name="logged_model_metrics")
    op.drop_table("logged_model_metrics")
    op.drop_index("inputs_dataset_idx", table_name="inputs")
    op.drop_table("inputs")
    op.drop_index("runs_newest_idx", table_name="runs")
    op.drop_table("runs")
    op.drop_index("logged_models_newest_idx", table_name="logged_models")
    op.drop_table("logged_models")
    op.drop_table("experiment_tags")
    op.drop_table("datasets")
    op.drop_table("metric_series_counters")
    op.drop_table("experiments")
    op.drop_table("artifacts")
    op.drop_table("tenants")
    op.drop_table("metric_points")
