"""The results as a table and as JSON."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.measure import Goal, Result
from benchmarks.servers import OURS

HEADER = ("workload", "server", "median", "unit", "p50 ms", "p99 ms", "ours/it", "goal")


class Results:
    """All results of a run, by workload and server."""

    def __init__(self, results: Sequence[Result]) -> None:
        self.all = list(results)
        self._by_name = {(result.workload, result.server): result for result in results}

    def ours(self, workload: str) -> Result | None:
        return self._by_name.get((workload, OURS))

    def ratio(self, result: Result) -> float | None:
        """Our figure over that of another server; None for our own."""
        ours = self.ours(result.workload)
        if ours is None or ours is result or not result.figure or not ours.figure:
            return None
        return ours.figure / result.figure

    def met(self, workload: str, goal: Goal) -> bool | None:
        """Whether our service meets the goal; None if it, or `against`, was not measured."""
        ours = self.ours(workload)
        if ours is None:
            return None
        if ours.problems:
            return False
        if goal.against is None:
            return ours.figure <= goal.factor
        other = self._by_name.get((workload, goal.against))
        if other is None or not other.figure:
            return None
        return ours.figure >= goal.factor * other.figure

    @property
    def failed(self) -> bool:
        """Whether an answer of our service was wrong, or a request to it failed."""
        return any(result.problems for result in self.all if result.server.startswith(OURS))


def table(results: Results) -> str:
    rows = [HEADER, *(_row(results, result) for result in results.all)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines, subject = [], ""
    for row, result in zip(rows, [None, *results.all], strict=True):
        # An empty line separates subjects; "SUBJECT: DETAIL" belongs to its subject.
        if result and result.workload.partition(":")[0] != subject:
            lines.append("")
            subject = result.workload.partition(":")[0]
        lines.append("  ".join(_aligned(row, widths)).rstrip())
        lines += [f"    {note}" for note in (result.notes if result else ())]
        lines += [f"    wrong: {problem}" for problem in (result.problems if result else ())]
    return "\n".join(lines)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    words = (0, 1, 3, 7)  # the other columns are numbers
    return [
        cell.ljust(width) if column in words else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def _row(results: Results, result: Result) -> tuple[str, ...]:
    ratio = results.ratio(result)
    return (
        result.workload,
        result.server,
        _number(result.figure),
        result.unit,
        _milliseconds(result.p50),
        _milliseconds(result.p99),
        "" if ratio is None else f"{ratio:.2f}",
        "; ".join(_goal(results, result, goal) for goal in result.goals)
        if result.server == OURS
        else "",
    )


def _goal(results: Results, result: Result, goal: Goal) -> str:
    words = {True: "met", False: "NOT MET", None: "not measured"}
    return f"{goal.text()}: {words[results.met(result.workload, goal)]}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:,.1f}"


def as_json(results: Results, about: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "about": dict(about),
        "results": [
            asdict(result)
            | {
                "median": result.figure,
                "ours_over_it": results.ratio(result),
                "goals": [
                    {"goal": goal.text(), "met": results.met(result.workload, goal)}
                    for goal in result.goals
                    if result.server == OURS
                ],
            }
            for result in results.all
        ],
    }


def write(results: Results, about: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(as_json(results, about), indent=1) + "\n")


def machine() -> str:
    cpus = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return f"{len(cpus)} × {cpus[0] if cpus else platform.machine()}, {platform.system()}"
