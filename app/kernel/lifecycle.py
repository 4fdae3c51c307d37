"""MLflow's lifecycle stages, shared by experiments and runs."""

from typing import Literal

# The deleted_time of what garbage collection has begun to remove: it can't be restored any more.
PURGING = 0

ViewType = Literal["ACTIVE_ONLY", "DELETED_ONLY", "ALL"]


def stage(deleted_time: int | None) -> str:
    """The lifecycle stage of what was deleted then, or never."""
    return "active" if deleted_time is None else "deleted"
