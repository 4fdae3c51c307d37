"""Renders a snapshot of metrics in the text format of Prometheus."""

import platform
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import accumulate

from prometheus_client import generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from app.observability.histogram import SECONDS
from app.observability.worker_metrics import HistogramCounts, Snapshot

COUNTERS = {
    "flush_failures": "Flushes that Postgres refused; their writes were then tried one by one",
    "logged_warning": "Lines logged as warnings",
    "logged_error": "Lines logged as errors",
    "logged_critical": "Lines logged as critical",
}
GAUGES = {
    "open_requests": "Requests being answered",
    "held_bytes": "Bytes of large request bodies and responses that are held in memory",
    "waiting_writes": "Writes to runs that wait for a flush",
    "waiting_items": "Points, params and tags that wait for a flush",
    "pool_size": "Connections to Postgres that may be open",
    "pool_in_use": "Connections to Postgres that are in use",
    "pool_waiting": "Requests that wait for a connection to Postgres",
    "workers": "Worker processes that serve",
}
HISTOGRAMS = {
    "flush_items": "Points, params and tags in one flush",
    "flush_seconds": "Time that a flush took, to its commit",
}


class _SnapshotCollector:
    """A snapshot as a collector of prometheus-client."""

    def __init__(self, snapshot: Snapshot, database_up: bool, by_tenant: bool) -> None:
        self._snapshot = snapshot
        self._database_up = database_up
        self._by_tenant = by_tenant

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("tracking_build_info", "Versions", labels=["version", "python"])
        build.add_metric([version("tracking"), platform.python_version()], 1)
        yield build
        yield GaugeMetricFamily(
            "tracking_database_up", "Whether Postgres answered just now", int(self._database_up)
        )
        yield from self._requests()
        for name, value in self._snapshot.counters.items():
            yield CounterMetricFamily(f"tracking_{name}", COUNTERS[name], value)
        for name, value in self._snapshot.gauges.items():
            yield GaugeMetricFamily(f"tracking_{name}", GAUGES[name], value)
        for name, histogram in self._snapshot.histograms.items():
            yield HistogramMetricFamily(
                f"tracking_{name}",
                HISTOGRAMS[name],
                buckets=_buckets(histogram.bounds, histogram.counts),
                sum_value=histogram.total,
            )

    def _requests(self) -> Iterator[Metric]:
        labels = ["method", "route", "status", *(["tenant"] if self._by_tenant else [])]
        requests = CounterMetricFamily("tracking_requests", "Answered requests", labels=labels)
        by_label: dict[tuple[str, ...], float] = {}
        by_route: dict[tuple[str, str], HistogramCounts] = {}
        for (method, route, status, tenant), (number, seconds, *counts) in self._snapshot.requests:
            label = (method, route, str(status), *([tenant] if self._by_tenant else []))
            by_label[label] = by_label.get(label, 0) + number
            latencies = HistogramCounts(list(SECONDS), [int(count) for count in counts], seconds)
            if (method, route) in by_route:
                by_route[method, route].add(latencies)
            else:
                by_route[method, route] = latencies
        for label, number in by_label.items():
            requests.add_metric(label, number)
        yield requests
        # Not by tenant: a histogram is sixteen series.
        latency = HistogramMetricFamily(
            "tracking_request_seconds",
            "Time from the head of a request to the end of its answer",
            labels=["method", "route"],
        )
        for key, latencies in by_route.items():
            latency.add_metric(key, _buckets(latencies.bounds, latencies.counts), latencies.total)
        yield latency


def render(snapshot: Snapshot, *, database_up: bool, by_tenant: bool) -> bytes:
    """The text format; with `by_tenant` the counts of requests have a label `tenant`."""
    return generate_latest(_SnapshotCollector(snapshot, database_up, by_tenant))


def _buckets(bounds: Iterable[float], counts: Iterable[int]) -> list[tuple[str, float]]:
    """Cumulative buckets, as Prometheus has them, from counts by bucket."""
    names = [*(str(bound) for bound in bounds), "+Inf"]
    return list(zip(names, accumulate(counts), strict=True))
