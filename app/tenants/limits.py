"""The quotas that a tenant can have."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """None means no limit. Points are counted by UTC day, runs with those that are deleted."""

    requests_per_second: int | None = None
    points_per_day: int | None = None
    runs: int | None = None
    artifact_bytes: int | None = None
