"""What is counted, in each worker, and shown at /metrics for all of them.

Plain numbers that the event loop alone changes: prometheus-client's own counters lock, and in its
multiprocess mode write to a file, for every request. It renders what is here when it is asked to.
"""

import logging
from bisect import bisect_left

import msgspec

from app.observability.histogram import SECONDS, Histogram

# Cells are [requests, seconds in all, and one number a bucket of SECONDS and one above].
_CELL = [0, 0.0, *[0] * (len(SECONDS) + 1)]

OTHER_TENANTS = "(other)"

RequestKey = tuple[str, str, int, str]
"""Method, route, status, and tenant, or "" where tenants are not told apart."""


class RequestCounts:
    """Answered requests. The first `tenants` tenants of a worker are told apart; the others are
    counted together, since every series costs its reader memory. With 0 none are."""

    def __init__(self, tenants: int) -> None:
        self.open = 0
        self.cells: dict[RequestKey, list[float]] = {}
        self._tenants = tenants
        self._known: set[str] = set()

    def add(self, method: str, route: str, status: int, tenant: str | None, seconds: float) -> None:
        key = (method, route, status, self._label(tenant) if self._tenants and tenant else "")
        cell = self.cells.get(key)
        if cell is None:
            cell = self.cells[key] = _CELL.copy()
        cell[0] += 1
        cell[1] += seconds
        cell[2 + bisect_left(SECONDS, seconds)] += 1

    def _label(self, tenant: str) -> str:
        if tenant in self._known:
            return tenant
        if len(self._known) < self._tenants:
            self._known.add(tenant)
            return tenant
        return OTHER_TENANTS


class LoggedLines(logging.Handler):
    """Counts what is logged, by level; a rise of `error` is worth an alert."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.counts: dict[str, int] = {"warning": 0, "error": 0, "critical": 0}

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname.lower()
        if level in self.counts:  # a library may have made up another
            self.counts[level] += 1


class Distribution(msgspec.Struct):
    """A histogram as it is passed between workers."""

    bounds: list[float]
    counts: list[int]
    total: float

    @classmethod
    def of(cls, histogram: Histogram) -> "Distribution":
        return cls(list(histogram.bounds), list(histogram.counts), histogram.total)

    def add(self, other: "Distribution") -> None:
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


class Snapshot(msgspec.Struct):
    """All that one worker, or several together, have counted.

    `levels` are quantities of the moment, which an ended worker has none of any more.
    """

    requests: list[tuple[RequestKey, list[float]]]
    counters: dict[str, float]
    levels: dict[str, float]
    distributions: dict[str, Distribution]

    def add(self, other: "Snapshot") -> None:
        self.requests += other.requests
        for name, value in other.counters.items():
            self.counters[name] = self.counters.get(name, 0) + value
        for name, value in other.levels.items():
            self.levels[name] = self.levels.get(name, 0) + value
        for name, distribution in other.distributions.items():
            if name in self.distributions:
                self.distributions[name].add(distribution)
            else:
                self.distributions[name] = distribution
