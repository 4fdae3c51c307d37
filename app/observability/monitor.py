"""Monitor of a worker: its access log, its metrics, and their exchange with the other workers."""

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from app.config import Settings
from app.observability import logs
from app.observability.access_log import AccessLog
from app.observability.histogram import Histogram
from app.observability.parent_watch import stopped_with_parent
from app.observability.worker_metrics import (
    HistogramCounts,
    LoggedLines,
    RequestCounts,
    Snapshot,
)
from app.observability.worker_snapshots import WorkerSnapshots


@dataclass(frozen=True, slots=True)
class ServiceStatistics:
    """What the services of a worker report, by the names in `app.observability.prometheus`.

    Gauges are of the moment; counters and histograms since the start.
    """

    counters: Mapping[str, float]
    gauges: Mapping[str, float]
    histograms: Mapping[str, Histogram]


class Monitor:
    """One per application. It observes while `running`."""

    def __init__(self, settings: Settings) -> None:
        self.access = AccessLog(
            settings.log_requests,
            logs.chosen_format(settings.log_format),
            slow=settings.log_slow_seconds,
        )
        self.requests = RequestCounts(settings.metrics_tenants)
        self._lines = LoggedLines()
        self._workers = WorkerSnapshots()

    @asynccontextmanager
    async def running(self, statistics: Callable[[], ServiceStatistics]) -> AsyncIterator[None]:
        """Write the access log, count log lines and publish snapshots while the context lasts."""
        root = logging.getLogger()
        root.addHandler(self._lines)
        self.access.start()
        try:
            with stopped_with_parent():
                async with self._workers.published(lambda: self._own_snapshot(statistics())):
                    yield
        finally:
            self.access.close()
            root.removeHandler(self._lines)

    def snapshot(self, statistics: ServiceStatistics) -> Snapshot:
        """The metrics of all workers; `statistics` are of this one's services."""
        snapshot = self._own_snapshot(statistics)
        self._workers.add_others(snapshot)
        return snapshot

    def _own_snapshot(self, statistics: ServiceStatistics) -> Snapshot:
        logged = {f"logged_{level}": count for level, count in self._lines.counts.items()}
        return Snapshot(
            requests=[(key, list(cell)) for key, cell in self.requests.cells.items()],
            counters={**statistics.counters, **logged},
            gauges={"workers": 1, "open_requests": self.requests.open, **statistics.gauges},
            histograms={
                name: HistogramCounts.of(histogram)
                for name, histogram in statistics.histograms.items()
            },
        )
