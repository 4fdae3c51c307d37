"""The directory of tenants, their keys, and what they have used of their quotas."""

from datetime import date, datetime

from sqlalchemy import (
    CheckConstraint,
    Date,
    DateTime,
    Identity,
    Integer,
    LargeBinary,
    Text,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import Base, TenantOwned, belongs_to_tenant, key


class Tenant(Base):
    """Not under row-level security: a request's tenant is looked up here before it is known.

    `id` stands in every row of every other table, so it is a small integer and not the slug.
    The last four are quotas; none where null.
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


class ApiKey(TenantOwned, Base):
    """A key of a tenant: what its secret hashes to. A revoked one stays, to be seen."""

    __tablename__ = "api_keys"
    __table_args__ = (
        key("key_id"),
        belongs_to_tenant(),
        CheckConstraint("role IN ('read', 'write', 'admin')", name="role"),
    )

    key_id: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary)
    creation_time: Mapped[int]
    expiry_time: Mapped[int | None]
    revoked_time: Mapped[int | None]
    last_used_time: Mapped[int | None]


class TenantUsage(TenantOwned, Base):
    """The points that a tenant with a quota of them logged on a day, in UTC."""

    __tablename__ = "tenant_usage"
    __table_args__ = (key("day"), belongs_to_tenant())

    day: Mapped[date] = mapped_column(Date)
    points: Mapped[int]
