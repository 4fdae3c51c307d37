"""Experiments and their tags."""

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import Base, TenantOwned, belongs_to_tenant, key, part_of, unique


class Experiment(TenantOwned, Base):
    """An experiment. As in MLflow, the name of a deleted experiment stays taken.

    `artifact_location` is null if artifacts are stored through this server, the default.
    """

    __tablename__ = "experiments"
    __table_args__ = (key("experiment_id"), unique("name"), belongs_to_tenant())

    experiment_id: Mapped[int] = mapped_column()
    name: Mapped[str] = mapped_column(Text)
    artifact_location: Mapped[str | None] = mapped_column(Text)
    creation_time: Mapped[int]
    last_update_time: Mapped[int]
    deleted_time: Mapped[int | None]


class ExperimentTag(TenantOwned, Base):
    """A tag of an experiment."""

    __tablename__ = "experiment_tags"
    __table_args__ = (key("experiment_id", "key"), part_of("experiments", "experiment_id"))

    experiment_id: Mapped[int]
    key: Mapped[str] = mapped_column(Text)
    value: Mapped[str] = mapped_column(Text)
