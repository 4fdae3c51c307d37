"""The current time in epoch milliseconds, as MLflow has it."""

import time


def now_ms() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000
