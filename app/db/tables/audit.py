"""The audit log: deletions, changes of access, and who made them."""

from typing import Any
from uuid import UUID

from sqlalchemy import Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import Base, TenantOwned, key


class AuditEvent(TenantOwned, Base):
    """An event. It outlives its tenant: it has no foreign key to it, and the slug beside its id.

    The application's role may add rows, and neither change nor delete them.
    """

    __tablename__ = "audit_log"
    __table_args__ = (key("event_id"),)

    event_id: Mapped[UUID]  # UUIDv7, in the order of time
    created_time: Mapped[int]
    tenant: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    target: Mapped[str] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text)
    details: Mapped[dict[str, Any]] = mapped_column(JSONB)
