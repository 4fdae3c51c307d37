"""Results and goals of a workload on one server, measured in rounds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.wrk import Load, Request


@dataclass(frozen=True)
class Goal:
    """Our figure is at least `factor` times that of `against`; without it, at most `factor`."""

    against: str | None
    factor: float

    def text(self) -> str:
        if self.against is None:
            return f"≤ {self.factor:g}"
        return f"≥ {self.factor:g}× {self.against}"


@dataclass
class Result:
    """One workload on one server: one figure per round, and what was wrong with the answers.

    `figures` are in `unit`; `p50s` and `p99s` are latencies in seconds. `notes` are printed below
    the row of the table.
    """

    workload: str
    server: str
    unit: str
    figures: list[float] = field(default_factory=list)
    p50s: list[float] = field(default_factory=list)
    p99s: list[float] = field(default_factory=list)
    errors: int = 0
    problems: list[str] = field(default_factory=list)
    goals: tuple[Goal, ...] = ()
    notes: list[str] = field(default_factory=list)

    @property
    def figure(self) -> float:
        return median(self.figures) if self.figures else 0.0

    @property
    def p50(self) -> float | None:
        return median(self.p50s) if self.p50s else None

    @property
    def p99(self) -> float | None:
        return median(self.p99s) if self.p99s else None

    def add(self, load: Load, units: float) -> None:
        self.figures.append(load.answered * units / load.seconds)
        self.p50s.append(load.p50)
        self.p99s.append(load.p99)


@dataclass(frozen=True)
class Prepared:
    """A workload prepared for one server.

    `units` is how many units of the result one request counts for. `stored` counts the rows that
    the server holds of what the workload writes; each request adds `per_request` of them.
    """

    requests: Sequence[Request]
    units: float = 1
    stored: Callable[[], int] | None = None
    per_request: int = 1
