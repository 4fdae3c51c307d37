"""API keys."""

from sqlalchemy import CheckConstraint, LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import Base, TenantOwned, belongs_to_tenant, key


class ApiKey(TenantOwned, Base):
    """An API key: the hash of its secret, never the secret. Revoked keys are kept and listed."""

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
