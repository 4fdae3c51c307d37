"""Logged models (MLflow 3) with their params, tags and metrics."""

from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Text, text
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import Base, TenantOwned, key, part_of


class LoggedModel(TenantOwned, Base):
    """A logged model."""

    __tablename__ = "logged_models"
    __table_args__ = (
        key("model_id"),
        part_of("experiments", "experiment_id"),
        CheckConstraint(
            "status IN ('LOGGED_MODEL_PENDING', 'LOGGED_MODEL_READY',"
            " 'LOGGED_MODEL_UPLOAD_FAILED')",
            name="status",
        ),
        Index(
            "logged_models_newest_idx",
            "tenant_id",
            "experiment_id",
            text("creation_time DESC"),
            "model_id",
        ),
    )

    model_id: Mapped[str] = mapped_column(Text)
    experiment_id: Mapped[int]
    name: Mapped[str] = mapped_column(Text)
    model_type: Mapped[str | None] = mapped_column(Text)
    source_run_id: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    creation_time: Mapped[int]
    last_updated_time: Mapped[int]
    deleted_time: Mapped[int | None]


class LoggedModelParam(TenantOwned, Base):
    """A param of a logged model."""

    __tablename__ = "logged_model_params"
    __table_args__ = (key("model_id", "key"), part_of("logged_models", "model_id"))

    model_id: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text)
    value: Mapped[str] = mapped_column(Text)


class LoggedModelTag(TenantOwned, Base):
    """A tag of a logged model."""

    __tablename__ = "logged_model_tags"
    __table_args__ = (key("model_id", "key"), part_of("logged_models", "model_id"))

    model_id: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text)
    value: Mapped[str] = mapped_column(Text)


class LoggedModelMetric(TenantOwned, Base):
    """A metric point of a run that was logged for a model, and optionally for a dataset."""

    __tablename__ = "logged_model_metrics"
    __table_args__ = (
        key("model_id", "key", "timestamp", "step", "run_id"),
        part_of("logged_models", "model_id"),
        part_of("runs", "run_id"),
        Index("logged_model_metrics_run_idx", "tenant_id", "run_id"),
    )

    model_id: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text)
    timestamp: Mapped[int]
    step: Mapped[int]
    run_id: Mapped[UUID]
    value: Mapped[float] = mapped_column(DOUBLE_PRECISION)
    dataset_name: Mapped[str | None] = mapped_column(Text)
    dataset_digest: Mapped[str | None] = mapped_column(Text)
