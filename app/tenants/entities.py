"""A tenant as the directory of them has it."""

from dataclasses import dataclass, field
from datetime import datetime

from app.tenants.limits import Limits


@dataclass(frozen=True, slots=True)
class Entry:
    """`created_at` is None for the default tenant while it is not made."""

    slug: str
    description: str | None
    created_at: datetime | None = None
    limits: Limits = field(default_factory=Limits)
