"""What was counted, in Prometheus's words."""

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
from app.observability.worker_metrics import Distribution, Snapshot

COUNTERS = {
    "flush_failures": "Flushes that Postgres refused; their writes were then tried one by one",
    "logged_warning": "Lines logged as warnings",
    "logged_error": "Lines logged as errors",
    "logged_critical": "Lines logged as critical",
}
LEVELS = {
    "open_requests": "Requests being answered",
    "held_bytes": "Bytes of large bodies and answers that are held in memory",
    "waiting_writes": "Writes to runs that wait for a flush",
    "waiting_items": "Points, params and tags that wait for a flush",
    "pool_size": "Connections to Postgres that may be open",
    "pool_in_use": "Connections to Postgres that are in use",
    "pool_waiting": "Requests that wait for a connection to Postgres",
    "workers": "Worker processes that serve",
}
DISTRIBUTIONS = {
    "flush_items": "Points, params and tags in one flush",
    "flush_seconds": "Time that a flush took, to its commit",
}


class _Families:
    """prometheus-client's interface of whatever has metrics."""

    def __init__(self, counted: Snapshot, database_up: bool, tenants: bool) -> None:
        self._counted = counted
        self._database_up = database_up
        self._tenants = tenants

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("tracking_build_info", "Versions", labels=["version", "python"])
        build.add_metric([version("tracking"), platform.python_version()], 1)
        yield build
        yield GaugeMetricFamily(
            "tracking_database_up", "Whether Postgres answered just now", int(self._database_up)
        )
        yield from self._requests()
        counted = self._counted
        for name, value in counted.counters.items():
            yield CounterMetricFamily(f"tracking_{name}", COUNTERS[name], value)
        for name, value in counted.levels.items():
            yield GaugeMetricFamily(f"tracking_{name}", LEVELS[name], value)
        for name, one in counted.distributions.items():
            yield HistogramMetricFamily(
                f"tracking_{name}",
                DISTRIBUTIONS[name],
                buckets=_buckets(one.bounds, one.counts),
                sum_value=one.total,
            )

    def _requests(self) -> Iterator[Metric]:
        labels = ["method", "route", "status", *(["tenant"] if self._tenants else [])]
        requests = CounterMetricFamily("tracking_requests", "Answered requests", labels=labels)
        by_label: dict[tuple[str, ...], float] = {}
        by_route: dict[tuple[str, str], Distribution] = {}
        for (method, route, status, tenant), (number, seconds, *counts) in self._counted.requests:
            label = (method, route, str(status), *([tenant] if self._tenants else []))
            by_label[label] = by_label.get(label, 0) + number
            one = Distribution(list(SECONDS), [int(each) for each in counts], seconds)
            if (method, route) in by_route:
                by_route[method, route].add(one)
            else:
                by_route[method, route] = one
        for label, number in by_label.items():
            requests.add_metric(label, number)
        yield requests
        # Not by tenant: that would be sixteen series for each.
        latency = HistogramMetricFamily(
            "tracking_request_seconds",
            "Time from the head of a request to the end of its answer",
            labels=["method", "route"],
        )
        for key, one in by_route.items():
            latency.add_metric(key, _buckets(one.bounds, one.counts), one.total)
        yield latency


def render(counted: Snapshot, *, database_up: bool, tenants: bool) -> bytes:
    """The text format of Prometheus."""
    return generate_latest(_Families(counted, database_up, tenants))


def _buckets(bounds: Iterable[float], counts: Iterable[int]) -> list[tuple[str, float]]:
    """Prometheus's buckets hold what the ones before them hold, too."""
    names = [*(str(bound) for bound in bounds), "+Inf"]
    return list(zip(names, accumulate(counts), strict=True))
