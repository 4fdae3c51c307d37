"""Comparison of runs: which run has the best value of each metric, and which params differ.

Pure functions of runs that were read already.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from app.runs.entities import Run

Direction = Literal["min", "max"]

# A word of a camelCase or snake_case name, such as `valLoss`, `val/RMSE` or `top5_error`.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# Words of metrics that are better when lower. All other metrics are better when higher.
_LOWER_IS_BETTER = re.compile(
    "loss|logloss|err|errors?|mse|rmse|msle|rmsle|mae|mape|smape|wape|mase|mdae|medae|perplexity|ppl"
    "|entropy|crossentropy|divergence|kl|deviance|brier|nll|bpc|bpb|fid|wer|cer|fpr|fnr|ece|regret"
    "|distance|latency|duration|time|runtime|seconds|ms|cost"
)
# scikit-learn negates losses, and names them so: `neg_log_loss` is better when higher.
_NEGATED = ("neg", "negative")


@dataclass(frozen=True, slots=True)
class MetricChoice:
    """A metric to compare by. Without a direction, the direction is inferred from the name."""

    name: str
    direction: Direction | None = None


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """The values of one metric by run id, and the run that has the best of them.

    `best_run_id` is None on a tie. Where no run has a number, `best_value` is None as well.
    """

    direction: Direction
    direction_inferred: bool
    best_run_id: str | None
    best_value: float | None
    all_values: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class ParamComparison:
    """The values of one param by run id. `differs` is also true where some of the runs lack it."""

    differs: bool
    values: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison of runs. `best_run` is the id of a run, or None on a tie."""

    best_run: str | None
    metrics: dict[str, MetricComparison]
    params: dict[str, ParamComparison]


def compare(runs: Sequence[Run], choices: Sequence[MetricChoice] | None = None) -> Comparison:
    """Compare runs by the latest values of the chosen metrics, or of all metrics of the runs.

    `best_run` is the run that has the best value of more metrics than any other run. Where runs
    share the best value of a metric, it counts for each of them.
    """
    latest = {run.run_id.hex: {metric.key: metric.value for metric in run.metrics} for run in runs}
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
    """Whether a metric is better when lower ("min") or when higher, by the words of its name."""
    words = [word.lower() for word in _WORD.findall(name)]
    if any(word in _NEGATED for word in words):
        return "max"
    return "min" if any(map(_LOWER_IS_BETTER.fullmatch, words)) else "max"


def _best(
    values: Mapping[str, float | None], direction: Direction
) -> tuple[float | None, list[str]]:
    """The best value, and the runs that have it. NaN is never the best value."""
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
    return sorted({name for names in by_run.values() for name in names})


def _only(candidates: Sequence[str]) -> str | None:
    return candidates[0] if len(candidates) == 1 else None
