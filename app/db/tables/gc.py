"""What garbage collection has begun and not yet finished."""

from sqlalchemy import Integer
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import Base, TenantOwned, belongs_to_tenant, key


class PurgedSeries(TenantOwned, Base):
    """A metric of a run that is gone; its points may still be there."""

    __tablename__ = "purged_series"
    __table_args__ = (key("series_id"), belongs_to_tenant())

    series_id: Mapped[int] = mapped_column(Integer)
