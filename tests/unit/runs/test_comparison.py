import math
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.metrics.entities import LatestMetric
from app.runs.comparison import Comparison, MetricChoice, compare, infer_direction
from app.runs.entities import Run

NAMES = st.sampled_from(["loss", "accuracy", "m"])
VALUES = st.floats(allow_nan=True, allow_infinity=True)


def make_run(
    number: int, metrics: dict[str, float] | None = None, params: dict[str, str] | None = None
) -> Run:
    return Run(
        run_id=UUID(int=number),
        experiment_id=0,
        name=f"run {number}",
        user_id="",
        status="FINISHED",
        start_time=0,
        end_time=None,
        deleted_time=None,
        version=0,
        artifact_uri="",
        params=params or {},
        metrics=[LatestMetric(key, value, 0, 0) for key, value in (metrics or {}).items()],
    )


RUNS = st.lists(
    st.tuples(
        st.dictionaries(NAMES, VALUES),
        st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy")),
    ),
    min_size=2,
    max_size=10,
).map(lambda all: [make_run(number, *one) for number, one in enumerate(all)])


class TestInferDirection:
    @pytest.mark.parametrize(
        "name",
        [
            "loss",
            "val_loss",
            "val/loss",
            "valLoss",
            "RMSE",
            "testMSE",
            "test-mae",
            "top5_error",
            "log loss",
            "logloss",
            "perplexity",
            "latency_p99",
            "mean_squared_error",
            "eval.wer",
        ],
    )
    def test_lower_is_better(self, name: str) -> None:
        assert infer_direction(name) == "min"

    @pytest.mark.parametrize(
        "name",
        [
            "accuracy",
            "f1",
            "auc",
            "r2",
            "reward",
            "glossary_hits",
            "terror_recall",
            "neg_mean_squared_error",
            "neg_log_loss",
            "",
            "größe",
        ],
    )
    def test_higher_is_better(self, name: str) -> None:
        assert infer_direction(name) == "max"


class TestCompare:
    def best(self, compared: Comparison, name: str) -> tuple[str | None, float | None]:
        metric = compared.metrics[name]
        return metric.best_run_id, metric.best_value

    def test_tie_in_a_metric(self) -> None:
        compared = compare([make_run(n, {"m": 1.0}) for n in (1, 2)])
        assert self.best(compared, "m") == (None, 1.0)
        assert compared.best_run is None

    def test_shared_best_counts_for_each(self) -> None:
        runs = [
            make_run(1, {"m": 1, "loss": 3}),
            make_run(2, {"m": 1, "loss": 2}),
            make_run(3, {"m": 0, "loss": 1}),
        ]
        assert compare(runs).best_run is None
        assert compare(runs[:2]).best_run == runs[1].run_id.hex

    def test_infinities(self) -> None:
        runs = [make_run(1, {"m": math.inf, "loss": -math.inf}), make_run(2, {"m": 5, "loss": 0})]
        compared = compare(runs)
        assert self.best(compared, "m") == (runs[0].run_id.hex, math.inf)
        assert self.best(compared, "loss") == (runs[0].run_id.hex, -math.inf)

    def test_only_nan(self) -> None:
        compared = compare([make_run(n, {"m": math.nan}) for n in (1, 2)])
        assert self.best(compared, "m") == (None, None)
        assert compared.best_run is None

    def test_zeros_tie(self) -> None:
        assert compare([make_run(1, {"m": 0.0}), make_run(2, {"m": -0.0})]).best_run is None

    def test_missing_param_differs(self) -> None:
        compared = compare([make_run(1, params={"p": "v"}), make_run(2)])
        assert compared.params["p"].differs

    @given(RUNS)
    def test_best_is_unbeaten_and_alone(self, runs: list[Run]) -> None:
        for metric in compare(runs).metrics.values():
            numbers = {
                run_id: value
                for run_id, value in metric.all_values.items()
                if value is not None and not math.isnan(value)
            }
            assert metric.all_values.keys() == {run.run_id.hex for run in runs}
            if not numbers:
                assert metric.best_run_id is metric.best_value is None
                continue
            pick = min if metric.direction == "min" else max
            assert metric.best_value == pick(numbers.values())
            holders = [run_id for run_id, value in numbers.items() if value == metric.best_value]
            assert metric.best_run_id == (holders[0] if len(holders) == 1 else None)

    @given(RUNS)
    def test_order_of_runs_does_not_matter(self, runs: list[Run]) -> None:
        forwards, backwards = compare(runs), compare(runs[::-1])
        assert forwards.best_run == backwards.best_run
        for name, metric in forwards.metrics.items():
            assert metric.best_run_id == backwards.metrics[name].best_run_id

    @given(RUNS)
    def test_opposite_directions(self, runs: list[Run]) -> None:
        """What is best one way is best the other way only where all that have a number share it."""
        lowest = compare(runs, [MetricChoice("m", "min")]).metrics["m"]
        highest = compare(runs, [MetricChoice("m", "max")]).metrics["m"]
        assert (lowest.best_value is None) == (highest.best_value is None)
        if lowest.best_value is not None and highest.best_value is not None:
            assert lowest.best_value <= highest.best_value

    @given(RUNS)
    def test_a_dominating_run_is_best(self, runs: list[Run]) -> None:
        choices = [MetricChoice("loss", "min"), MetricChoice("m", "max")]
        beaten = [
            make_run(n, {metric.key: 0.0 for metric in run.metrics}) for n, run in enumerate(runs)
        ]
        winner = make_run(99, {"loss": -1.0, "m": 1.0})
        assert compare([*beaten, winner], choices).best_run == winner.run_id.hex

    @given(RUNS)
    def test_params(self, runs: list[Run]) -> None:
        compared = compare(runs)
        assert compared.params.keys() == {name for run in runs for name in run.params}
        for name, param in compared.params.items():
            values = [run.params.get(name) for run in runs]
            assert list(param.values.values()) == values
            assert param.differs == any(value != values[0] for value in values)
