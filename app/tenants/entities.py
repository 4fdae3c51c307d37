"""A tenant's details and its quotas."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Limits:
    """A tenant's quotas; None is no limit.

    Points are counted by UTC day. Deleted runs count.
    """

    requests_per_second: int | None = None
    points_per_day: int | None = None
    runs: int | None = None
    artifact_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class TenantDetails:
    """A tenant as it is listed.

    A default tenant that does not exist yet has the id 0 and no `created_at`.
    """

    id: int
    slug: str
    description: str | None
    created_at: datetime | None = None
    limits: Limits = field(default_factory=Limits)
