"""Garbage collection that is in progress."""

from sqlalchemy import Integer
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import Base, TenantOwned, belongs_to_tenant, key


class PurgedSeries(TenantOwned, Base):
    """A metric series of a deleted run, whose points are yet to be deleted."""

    __tablename__ = "purged_series"
    __table_args__ = (key("series_id"), belongs_to_tenant())

    series_id: Mapped[int] = mapped_column(Integer)
