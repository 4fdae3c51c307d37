"""The model registry: registered models, their versions, tags and aliases.

Models and versions have ids, so that renaming a model updates one row.
"""

from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import Base, TenantOwned, belongs_to_tenant, key, part_of, unique


class RegisteredModel(TenantOwned, Base):
    """A registered model. `last_version` is the greatest version number so far: numbers of deleted
    versions are not reused. The next one is taken under a lock of the row."""

    __tablename__ = "registered_models"
    __table_args__ = (key("registered_model_id"), unique("name"), belongs_to_tenant())

    registered_model_id: Mapped[UUID]
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    creation_time: Mapped[int]
    last_updated_time: Mapped[int]
    last_version: Mapped[int] = mapped_column(server_default=text("0"))


class RegisteredModelTag(TenantOwned, Base):
    """A tag of a registered model."""

    __tablename__ = "registered_model_tags"
    __table_args__ = (
        key("registered_model_id", "key"),
        part_of("registered_models", "registered_model_id"),
    )

    registered_model_id: Mapped[UUID]
    key: Mapped[str] = mapped_column(Text)
    value: Mapped[str] = mapped_column(Text)


class ModelVersion(TenantOwned, Base):
    """A model version.

    `source` is the URI that it was created from, as given; `storage_location` is where its files
    are, which stays valid if the version that it was copied from is deleted. `run_id` is free
    text, as in MLflow: there need not be such a run.
    """

    __tablename__ = "model_versions"
    __table_args__ = (
        key("version_id"),
        unique("registered_model_id", "version"),
        part_of("registered_models", "registered_model_id"),
        CheckConstraint(
            "current_stage IN ('None', 'Staging', 'Production', 'Archived')", name="current_stage"
        ),
    )

    version_id: Mapped[UUID]
    registered_model_id: Mapped[UUID]
    version: Mapped[int]
    creation_time: Mapped[int]
    last_updated_time: Mapped[int]
    current_stage: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    storage_location: Mapped[str] = mapped_column(Text)
    run_id: Mapped[str] = mapped_column(Text)
    run_link: Mapped[str] = mapped_column(Text)


class ModelVersionTag(TenantOwned, Base):
    """A tag of a model version."""

    __tablename__ = "model_version_tags"
    __table_args__ = (key("version_id", "key"), part_of("model_versions", "version_id"))

    version_id: Mapped[UUID]
    key: Mapped[str] = mapped_column(Text)
    value: Mapped[str] = mapped_column(Text)


class RegisteredModelAlias(TenantOwned, Base):
    """A name for a version of a model; it is deleted with the version."""

    __tablename__ = "registered_model_aliases"
    __table_args__ = (
        key("registered_model_id", "alias"),
        part_of("registered_models", "registered_model_id"),
        part_of("model_versions", "version_id"),
        Index("registered_model_aliases_version_idx", "tenant_id", "version_id"),
    )

    registered_model_id: Mapped[UUID]
    alias: Mapped[str] = mapped_column(Text)
    version_id: Mapped[UUID]
