"""The index of stored objects: listings are read from here and not from the store."""

from uuid import UUID

from sqlalchemy import Integer, LargeBinary, SmallInteger, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import Base, TenantOwned, belongs_to_tenant, key


class Artifact(TenantOwned, Base):
    """A file. Writing one is this row's commit: it is what makes an object visible.

    `path` starts at the tenant's root. It sorts by bytes (collation "C"), which makes a folder one
    contiguous range of the primary key. `object_id` names the object that holds this version of the
    file; null where that lies at the path itself. `sha256` is null where nobody computed it.
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
    """How many bytes a tenant's artifacts have: the sum of its slots, which triggers keep."""

    __tablename__ = "artifact_usage"
    __table_args__ = (
        key("slot"),
        belongs_to_tenant(),
        {"postgresql_with": {"fillfactor": 50}},
    )

    slot: Mapped[int] = mapped_column(SmallInteger)
    bytes: Mapped[int]


class ArtifactReservation(TenantOwned, Base):
    """Bytes that a tenant with a quota may yet store: for the object of an upload that is under
    way, or for a part of one. Worth nothing after `expiry_time`, if its worker was killed."""

    __tablename__ = "artifact_reservations"
    __table_args__ = (key("object_id", "part"), belongs_to_tenant())

    object_id: Mapped[UUID]
    part: Mapped[int] = mapped_column(Integer)
    bytes: Mapped[int]
    expiry_time: Mapped[int]
