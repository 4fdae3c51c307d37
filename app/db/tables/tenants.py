"""Tenants with their quotas, and the usage that is counted against the quota of points."""

from datetime import date, datetime

from sqlalchemy import Date, DateTime, Identity, Integer, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import Base, TenantOwned, belongs_to_tenant, key


class Tenant(Base):
    """A tenant and its quotas; a quota that is null is no limit.

    The table has no row-level security: a request's tenant is looked up here first. `id` is part
    of every row of every other table, so it is a small integer and not the slug.
    """

    __tablename__ = "tenants"

    id: Mapped[int] = mapped_column(Integer, Identity(always=True), primary_key=True)
    slug: Mapped[str] = mapped_column(Text, unique=True)
    description: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    requests_per_second: Mapped[int | None] = mapped_column(Integer)
    points_per_day: Mapped[int | None]
    max_runs: Mapped[int | None]
    max_artifact_bytes: Mapped[int | None]


class TenantUsage(TenantOwned, Base):
    """How many points a tenant logged on a day (UTC). Counted only for tenants with that quota."""

    __tablename__ = "tenant_usage"
    __table_args__ = (key("day"), belongs_to_tenant())

    day: Mapped[date] = mapped_column(Date)
    points: Mapped[int]
