"""Metrics of a worker: counts of requests and log lines, and the snapshot that workers exchange.

Plain numbers, which only the event loop changes. prometheus-client's own counters would take a lock
for every request, and in its multiprocess mode write to a file; it only renders the snapshot.
"""

import logging
from bisect import bisect_left

import msgspec

from app.observability.histogram import SECONDS, Histogram

# A cell: the number of requests, their total seconds, and the counts of a histogram of SECONDS.
_CELL = [0, 0.0, *[0] * (len(SECONDS) + 1)]

OTHER_TENANTS = "(other)"

RequestKey = tuple[str, str, int, str]
"""Method, route, status and tenant; the tenant is "" where requests are not counted by tenant."""


class RequestCounts:
    """Counts of answered requests.

    The first `tenants` tenants are counted each; all others together, since every series costs
    Prometheus memory. With 0, requests are not counted by tenant.
    """

    def __init__(self, tenants: int) -> None:
        self.open = 0
        self.cells: dict[RequestKey, list[float]] = {}
        self._max_tenants = tenants
        self._labels: set[str] = set()

    def add(self, method: str, route: str, status: int, tenant: str | None, seconds: float) -> None:
        """Count a request that took so many seconds."""
        key = (method, route, status, self._label(tenant) if self._max_tenants and tenant else "")
        cell = self.cells.get(key)
        if cell is None:
            cell = self.cells[key] = _CELL.copy()
        cell[0] += 1
        cell[1] += seconds
        cell[2 + bisect_left(SECONDS, seconds)] += 1

    def _label(self, tenant: str) -> str:
        if tenant in self._labels:
            return tenant
        if len(self._labels) < self._max_tenants:
            self._labels.add(tenant)
            return tenant
        return OTHER_TENANTS


class LoggedLines(logging.Handler):
    """Counts log lines by level, from WARNING; alert on a rise of `error`."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.counts: dict[str, int] = {"warning": 0, "error": 0, "critical": 0}

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname.lower()
        if level in self.counts:  # libraries may define levels of their own
            self.counts[level] += 1


class HistogramCounts(msgspec.Struct):
    """The counts of a `Histogram`, as workers exchange them."""

    bounds: list[float]
    counts: list[int]
    total: float

    @classmethod
    def of(cls, histogram: Histogram) -> "HistogramCounts":
        """A copy of the histogram's counts."""
        return cls(list(histogram.bounds), list(histogram.counts), histogram.total)

    def add(self, other: "HistogramCounts") -> None:
        """Add counts with the same bounds."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


class Snapshot(msgspec.Struct):
    """The metrics of one worker, or the sum of several workers'."""

    requests: list[tuple[RequestKey, list[float]]]
    counters: dict[str, float]
    gauges: dict[str, float]
    histograms: dict[str, HistogramCounts]

    def add(self, other: "Snapshot") -> None:
        """Add another worker's metrics."""
        self.requests += other.requests
        for name, value in other.counters.items():
            self.counters[name] = self.counters.get(name, 0) + value
        for name, value in other.gauges.items():
            self.gauges[name] = self.gauges.get(name, 0) + value
        for name, histogram in other.histograms.items():
            if name in self.histograms:
                self.histograms[name].add(histogram)
            else:
                self.histograms[name] = histogram
