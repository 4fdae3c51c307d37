"""What is measured: a workload of one server, in rounds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.wrk import Load, Request


@dataclass(frozen=True)
class Goal:
    """At least `factor` times what `against` reaches, or, without it, at most that figure."""

    against: str | None
    factor: float

    def text(self) -> str:
        if self.against is None:
            return f"≤ {self.factor:g}"
        return f"≥ {self.factor:g}× {self.against}"


@dataclass
class Result:
    """One workload on one server: a figure a round, and what was wrong with the answers.

    `unit` tells what the figures are; `p50` and `p99` are seconds a request. `notes` are for who
    reads the table.
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
    """A workload made ready for one server.

    `units` is what one request counts. `stored` counts what the server has of what the requests
    write, and `a_request` is how much of that each of them adds.
    """

    requests: Sequence[Request]
    units: float = 1
    stored: Callable[[], int] | None = None
    a_request: int = 1
