"""MLflow's lifecycle stages of experiments and runs: active, or soft-deleted."""

from typing import Literal

# The deleted_time of rows that garbage collection is deleting; they cannot be restored.
PURGING = 0

ViewType = Literal["ACTIVE_ONLY", "DELETED_ONLY", "ALL"]


def stage(deleted_time: int | None) -> str:
    """The lifecycle stage by the time of the soft delete; None is not deleted."""
    return "active" if deleted_time is None else "deleted"
