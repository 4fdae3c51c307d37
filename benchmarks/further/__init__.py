"""Further groups of measurements, which run only when they are named."""

from collections.abc import Callable

from benchmarks.further import (
    abuse,
    artifacts,
    authentication,
    connections,
    points_growth,
    retries,
    search_growth,
    snapshot,
    start,
    wide_run,
    workbench,
)
from benchmarks.further import workers as more_workers
from benchmarks.further.bench import Bench
from benchmarks.measure import Result

GROUPS: dict[str, Callable[[Bench], list[Result]]] = {
    "authentication": authentication.measure,
    "connections": connections.measure,
    "workers": more_workers.measure,
    "points-growth": points_growth.measure,
    "retries": retries.measure,
    "search-growth": search_growth.measure,
    "snapshot": snapshot.measure,
    "wide-run": wide_run.measure,
    "workbench": workbench.measure,
    "start": start.measure,
    "artifacts-large": artifacts.large,
    "artifacts-s3": artifacts.on_s3,
    "artifacts-small": artifacts.small,
    "artifacts-listing": artifacts.listing,
    **abuse.GROUPS,
}
