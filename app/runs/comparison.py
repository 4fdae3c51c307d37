"""Comparing runs: which has the best value of each metric, and which params set them apart.

Pure: from runs to a comparison, with nothing read or written.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from app.runs.entities import Run

Direction = Literal["min", "max"]

# A camelCase or snake_case name's words: `valLoss`, `val/RMSE` and `top5_error` alike.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# Words that name something one wants less of. Every other metric is better when it is higher.
_LOWER_IS_BETTER = re.compile(
    "loss|logloss|err|errors?|mse|rmse|msle|rmsle|mae|mape|smape|wape|mase|mdae|medae|perplexity|ppl"
    "|entropy|crossentropy|divergence|kl|deviance|brier|nll|bpc|bpb|fid|wer|cer|fpr|fnr|ece|regret"
    "|distance|latency|duration|time|runtime|seconds|ms|cost"
)
# scikit-learn negates its losses, so that all its scores are better when higher.
_NEGATED = ("neg", "negative")


@dataclass(frozen=True, slots=True)
class MetricChoice:
    """A metric to compare by; without a direction, it is inferred from the name."""

    name: str
    direction: Direction | None = None


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """`best_run_id` is None on a tie, and where no run has a number; so is `best_value` then."""

    direction: Direction
    direction_inferred: bool
    best_run_id: str | None
    best_value: float | None
    all_values: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class ParamComparison:
    """A param that some of the runs lack differs."""

    differs: bool
    values: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`best_run` is None on a tie."""

    best_run: str | None
    metrics: dict[str, MetricComparison]
    params: dict[str, ParamComparison]


def compare(runs: Sequence[Run], choices: Sequence[MetricChoice] | None = None) -> Comparison:
    """Compare runs by the chosen metrics, or by all that any of them has.

    `best_run` is the run that has the best value of more metrics than any other run has. Runs
    that share a metric's best value each count it, since none of them is beaten there.
    """
    latest = {run.run_id.hex: {one.key: one.value for one in run.metrics} for run in runs}
    if choices is None:
        choices = [MetricChoice(name) for name in _names(latest)]
    metrics = {}
    wins: Counter[str] = Counter()
    for choice in choices:
        values = {run_id: metrics_of.get(choice.name) for run_id, metrics_of in latest.items()}
        direction = choice.direction or infer_direction(choice.name)
        best_value, winners = _best(values, direction)
        wins.update(winners)
        metrics[choice.name] = MetricComparison(
            direction=direction,
            direction_inferred=choice.direction is None,
            best_run_id=_only(winners),
            best_value=best_value,
            all_values=values,
        )
    most = max(wins.values(), default=0)
    return Comparison(
        best_run=_only([run_id for run_id, count in wins.items() if count == most]),
        metrics=metrics,
        params=_params({run.run_id.hex: run.params for run in runs}),
    )


def infer_direction(name: str) -> Direction:
    """Whether a metric of that name is better when lower or when higher."""
    words = [word.lower() for word in _WORD.findall(name)]
    if any(word in _NEGATED for word in words):
        return "max"
    return "min" if any(map(_LOWER_IS_BETTER.fullmatch, words)) else "max"


def _best(
    values: Mapping[str, float | None], direction: Direction
) -> tuple[float | None, list[str]]:
    """The best value, and all the runs that have it. NaN is no value to be best with."""
    numbers = {
        run_id: value
        for run_id, value in values.items()
        if value is not None and not math.isnan(value)
    }
    if not numbers:
        return None, []
    best = min(numbers.values()) if direction == "min" else max(numbers.values())
    return best, [run_id for run_id, value in numbers.items() if value == best]


def _params(params: Mapping[str, Mapping[str, str]]) -> dict[str, ParamComparison]:
    compared = {}
    for name in _names(params):
        values = {run_id: params_of.get(name) for run_id, params_of in params.items()}
        compared[name] = ParamComparison(len(set(values.values())) > 1, values)
    return compared


def _names(by_run: Mapping[str, Mapping[str, object]]) -> list[str]:
    return sorted({name for of_run in by_run.values() for name in of_run})


def _only(candidates: Sequence[str]) -> str | None:
    return candidates[0] if len(candidates) == 1 else None
