"""The input of a group of measurements, and helpers that several groups use."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from benchmarks.measure import Goal, Result
from benchmarks.seeds import Seeds


@dataclass(frozen=True)
class Bench:
    """The seeded servers, ours first; a folder for temporary files; length and number of rounds."""

    servers: Sequence[Seeds]
    folder: Path
    seconds: int
    rounds: int

    @property
    def ours(self) -> Seeds:
        return self.servers[0]


def timed(workload: str, server: str, calls: Sequence[Callable[[], object]]) -> Result:
    """Runs the calls one after another; the figures are their durations in milliseconds."""
    result = Result(workload, server, "ms")
    for call in calls:
        started = time.perf_counter()
        call()
        result.figures.append((time.perf_counter() - started) * 1000)
    result.p50s.append(result.figure / 1000)
    if len(result.figures) > 1:
        result.p99s.append(quantiles(result.figures, n=100, method="inclusive")[-1] / 1000)
    return result


def growth(workload: str, small: Result, large: Result, at_most: float) -> Result:
    """The duration with more data, divided by that with less."""
    goals = (Goal(None, at_most),)
    return Result(workload, large.server, "×", [large.figure / small.figure], goals=goals)
