"""The audit log: who did what that cannot be undone, or that lets others in."""

from typing import Any
from uuid import UUID

from sqlalchemy import Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import Base, TenantOwned, key


class AuditEvent(TenantOwned, Base):
    """Without a foreign key to its tenant, whose end it outlives; hence the slug beside its id.

    The application's role may add rows, and neither change nor remove any.
    """

    __tablename__ = "audit_log"
    __table_args__ = (key("event_id"),)

    event_id: Mapped[UUID]  # in the order of time
    created_time: Mapped[int]
    tenant: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    target: Mapped[str] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text)
    details: Mapped[dict[str, Any]] = mapped_column(JSONB)
