"""Artifacts: the index of stored objects, usage, and reservations of uploads."""

from uuid import UUID

from sqlalchemy import Integer, LargeBinary, SmallInteger, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import Base, TenantOwned, belongs_to_tenant, key


class Artifact(TenantOwned, Base):
    """A file. Its object in the store becomes visible when this row is committed.

    `path` is relative to the tenant's root. It sorts by bytes (collation "C"), so that a folder is
    one range of the primary key. `object_id` identifies the object with this version of the file;
    null if the object's key is the path. `sha256` is null if it was not computed.
    """

    __tablename__ = "artifacts"
    __table_args__ = (key("path"), belongs_to_tenant())

    path: Mapped[str] = mapped_column(Text(collation="C"))
    size: Mapped[int]
    etag: Mapped[str] = mapped_column(Text)
    content_type: Mapped[str] = mapped_column(Text)
    updated_time: Mapped[int]
    object_id: Mapped[UUID | None]
    sha256: Mapped[bytes | None] = mapped_column(LargeBinary)


class ArtifactUsage(TenantOwned, Base):
    """The bytes of a tenant's artifacts: the sum over its slots, which triggers maintain."""

    __tablename__ = "artifact_usage"
    __table_args__ = (
        key("slot"),
        belongs_to_tenant(),
        {"postgresql_with": {"fillfactor": 50}},
    )

    slot: Mapped[int] = mapped_column(SmallInteger)
    bytes: Mapped[int]


class ArtifactReservation(TenantOwned, Base):
    """Bytes of a tenant's quota that are reserved for an upload in progress, or for a part of it.

    Void after `expiry_time`, in case the worker was killed.
    """

    __tablename__ = "artifact_reservations"
    __table_args__ = (key("object_id", "part"), belongs_to_tenant())

    object_id: Mapped[UUID]
    part: Mapped[int] = mapped_column(Integer)
    bytes: Mapped[int]
    expiry_time: Mapped[int]
