"""Histogram without locks: a worker's event loop is one thread."""

from bisect import bisect_left
from collections.abc import Sequence

# Bucket bounds in seconds, from one log-metric to an upload of a minute.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
# Bucket bounds in writes or items of one flush.
SIZES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0)


class Histogram:
    """Counts by bucket: `counts[i]` values were at most `bounds[i]` and above `bounds[i - 1]`; the
    last count is of the values above all bounds. `total` is the sum of the values."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
