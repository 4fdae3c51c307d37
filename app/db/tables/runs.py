"""Runs with their params, tags, datasets, and input and output models."""

from uuid import UUID

from sqlalchemy import Boolean, CheckConstraint, Index, Text, text, true
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import Base, TenantOwned, key, part_of, unique

# Longer values are not in the indexes on values: an index entry has at most 2,700 bytes.
MAX_INDEXED_BYTES = 200


def _by_value(name: str) -> Index:
    """An index that finds the runs with a value of a key, in the order of their ids."""
    return Index(
        name,
        *("tenant_id", "key", "value", "run_id"),
        postgresql_ops={"value": "text_pattern_ops"},  # compares bytes, whatever the locale
        postgresql_where=text(f"octet_length(value) <= {MAX_INDEXED_BYTES}"),
    )


class Run(TenantOwned, Base):
    """A run. `name` is both MLflow's run name and, with `has_name_tag`, the tag `mlflow.runName`.

    `version` increases with every write to the run or to its params, tags, metrics and inputs.
    """

    __tablename__ = "runs"
    __table_args__ = (
        key("run_id"),
        part_of("experiments", "experiment_id"),
        CheckConstraint(
            "status IN ('RUNNING', 'SCHEDULED', 'FINISHED', 'FAILED', 'KILLED')", name="status"
        ),
        Index("runs_newest_idx", "tenant_id", "experiment_id", text("start_time DESC"), "run_id"),
        # Every flush updates the row; the free space keeps the update on the page (HOT).
        {"postgresql_with": {"fillfactor": 80}},
    )

    run_id: Mapped[UUID]
    experiment_id: Mapped[int]
    name: Mapped[str] = mapped_column(Text)
    user_id: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    start_time: Mapped[int]
    end_time: Mapped[int | None]
    deleted_time: Mapped[int | None]
    version: Mapped[int] = mapped_column(server_default=text("0"))
    has_name_tag: Mapped[bool] = mapped_column(Boolean, server_default=true())


class Param(TenantOwned, Base):
    """A param of a run."""

    __tablename__ = "params"
    __table_args__ = (
        key("run_id", "key"),
        part_of("runs", "run_id"),
        _by_value("params_value_idx"),
    )

    run_id: Mapped[UUID]
    key: Mapped[str] = mapped_column(Text)
    value: Mapped[str] = mapped_column(Text)


class RunTag(TenantOwned, Base):
    """A tag of a run."""

    __tablename__ = "run_tags"
    __table_args__ = (
        key("run_id", "key"),
        part_of("runs", "run_id"),
        _by_value("run_tags_value_idx"),
    )

    run_id: Mapped[UUID]
    key: Mapped[str] = mapped_column(Text)
    value: Mapped[str] = mapped_column(Text)


class Dataset(TenantOwned, Base):
    """A dataset that runs of an experiment used, identified by its name and digest."""

    __tablename__ = "datasets"
    __table_args__ = (
        key("dataset_id"),
        unique("experiment_id", "name", "digest"),
        part_of("experiments", "experiment_id"),
    )

    dataset_id: Mapped[UUID]
    experiment_id: Mapped[int]
    name: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(Text)
    source_type: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    schema: Mapped[str | None] = mapped_column(Text)
    profile: Mapped[str | None] = mapped_column(Text)


class Input(TenantOwned, Base):
    """A dataset as the input of a run."""

    __tablename__ = "inputs"
    __table_args__ = (
        key("run_id", "dataset_id"),
        part_of("runs", "run_id"),
        part_of("datasets", "dataset_id"),
        Index("inputs_dataset_idx", "tenant_id", "dataset_id"),
    )

    run_id: Mapped[UUID]
    dataset_id: Mapped[UUID]


class InputTag(TenantOwned, Base):
    """A tag of a run's input."""

    __tablename__ = "input_tags"
    __table_args__ = (
        key("run_id", "dataset_id", "key"),
        part_of("inputs", "run_id", "dataset_id"),
    )

    run_id: Mapped[UUID]
    dataset_id: Mapped[UUID]
    key: Mapped[str] = mapped_column(Text)
    value: Mapped[str] = mapped_column(Text)


class RunModel(TenantOwned, Base):
    """A logged model as the input or the output of a run; `step` is an output's training step."""

    __tablename__ = "run_models"
    __table_args__ = (
        key("run_id", "direction", "model_id"),
        part_of("runs", "run_id"),
        part_of("logged_models", "model_id"),
        CheckConstraint("direction IN ('input', 'output')", name="direction"),
        Index("run_models_model_idx", "tenant_id", "model_id"),
    )

    run_id: Mapped[UUID]
    direction: Mapped[str] = mapped_column(Text)
    model_id: Mapped[str] = mapped_column(Text)
    step: Mapped[int] = mapped_column(server_default=text("0"))
