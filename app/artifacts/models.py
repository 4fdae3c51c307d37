"""The index of stored objects: listings are read from here and not from the store."""

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, TenantOwned, belongs_to_tenant, key


class Artifact(TenantOwned, Base):
    """One stored object.

    `path` is the object's key in the tenant's bucket. It sorts by bytes (collation "C"), which
    makes a folder one contiguous range of the primary key.
    """

    __tablename__ = "artifacts"
    __table_args__ = (key("path"), belongs_to_tenant())

    path: Mapped[str] = mapped_column(Text(collation="C"))
    size: Mapped[int]
    etag: Mapped[str] = mapped_column(Text)
    content_type: Mapped[str] = mapped_column(Text)
    updated_time: Mapped[int]
