"""Runs side by side."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from fastapi import APIRouter, Response
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from app.api.workbench.dependencies import RUN_EXAMPLE, ReadTenant, ServicesDep
from app.api.workbench.json_body import JsonRoute
from app.api.workbench.openapi import answers
from app.api.workbench.schemas import RunStatus, example, run_status
from app.api.workbench.types import Body, Shown, ShownNumber, shown_number
from app.kernel import validation
from app.kernel.errors import InvalidValueError, NotFoundError
from app.runs import comparison
from app.runs.comparison import Direction, MetricChoice
from app.runs.entities import Run

router = APIRouter(prefix="/experiments/runs", tags=["metrics"], route_class=JsonRoute)

MAX_VALUES = 20_000  # of metrics, and of params, in one comparison

_OTHER_RUN = "018f3f7e5a6c7b2d9e4f1a2b3c4d5e70"


def _distinct(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        raise ValueError("names the same thing twice")
    return values


class ComparedMetric(Body):
    """A metric to compare by."""

    name: str = Field(min_length=1)
    direction: Direction | None = Field(
        default=None, description="Which values are better; left out, inferred from the name."
    )


def _by_name(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


MetricOrName = Annotated[ComparedMetric, BeforeValidator(_by_name, str | ComparedMetric)]


class CompareRuns(Body):
    """The runs, and the metrics to compare them by."""

    model_config = ConfigDict(
        json_schema_extra=example(
            {
                "run_ids": [RUN_EXAMPLE, _OTHER_RUN],
                "metrics": ["val_loss", {"name": "reward", "direction": "max"}],
            }
        )
    )

    run_ids: Annotated[list[str], AfterValidator(_distinct)] = Field(min_length=2, max_length=10)
    metrics: list[MetricOrName] | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="Names, or objects that say which direction is better. Left out, all metrics.",
    )


class ComparedRun(Shown):
    run_id: str
    name: str
    status: RunStatus
    params: dict[str, str]
    metrics: dict[str, ShownNumber]


class MetricComparison(Shown):
    """Missing values are null. `best_run_id` is null on a tie, and where no run has a number."""

    direction: Direction
    direction_inferred: bool
    best_run_id: str | None
    best_value: ShownNumber | None
    all_values: dict[str, ShownNumber | None]


class ParamComparison(Shown):
    differs: bool
    values: dict[str, str | None]


class Comparison(Shown):
    """`best_run` has the best value of more metrics than any other run; null on a tie."""

    best_run: str | None
    metric_comparison: dict[str, MetricComparison]
    params: dict[str, ParamComparison]


class ComparedRuns(Shown):
    """Runs side by side."""

    model_config = ConfigDict(
        json_schema_extra=example(
            {
                "runs": [
                    {
                        "run_id": RUN_EXAMPLE,
                        "name": "xgboost-baseline",
                        "status": "finished",
                        "params": {"learning_rate": "0.1"},
                        "metrics": {"val_loss": 0.231},
                    },
                    {
                        "run_id": _OTHER_RUN,
                        "name": "xgboost-tuned",
                        "status": "finished",
                        "params": {"learning_rate": "0.05"},
                        "metrics": {"val_loss": 0.198},
                    },
                ],
                "comparison": {
                    "best_run": _OTHER_RUN,
                    "metric_comparison": {
                        "val_loss": {
                            "direction": "min",
                            "direction_inferred": True,
                            "best_run_id": _OTHER_RUN,
                            "best_value": 0.198,
                            "all_values": {RUN_EXAMPLE: 0.231, _OTHER_RUN: 0.198},
                        }
                    },
                    "params": {
                        "learning_rate": {
                            "differs": True,
                            "values": {RUN_EXAMPLE: "0.1", _OTHER_RUN: "0.05"},
                        }
                    },
                },
            }
        )
    )

    runs: list[ComparedRun]
    comparison: Comparison


@router.post(
    "/compare",
    summary="Compare runs",
    response_model=ComparedRuns,
    responses=answers(404, 413, 415),
)
async def compare_runs(body: CompareRuns, services: ServicesDep, tenant: ReadTenant) -> Response:
    """Tells the best run by each metric, and by most of them, and the params that differ.

    A NaN is never best. Where no direction is given, it is inferred from the metric's name: losses,
    errors, latencies and the like are better when lower, all others when higher. At most 20,000
    values are compared, and as many params.
    """
    choices = _choices(body.metrics)
    try:
        runs = await services.runs.get_many(tenant, body.run_ids)
    except NotFoundError as error:
        raise NotFoundError(error.message, field="run_ids") from error
    # A run may have 20,000 metrics: one after the other, so that nobody waits for all of them.
    turns = services.turns
    shown = []
    for run in runs:
        async with turns.turn(tenant):
            shown.append(_shown(run))
    async with turns.turn(tenant):
        _check_size(runs, choices)
        compared = _compared(comparison.compare(runs, choices))
    answer = b'{"runs":[%s],"comparison":%s}' % (b",".join(shown), compared)
    return Response(answer, media_type="application/json")


def _check_size(runs: Sequence[Run], choices: Sequence[MetricChoice] | None) -> None:
    """Raises InvalidValueError for more values than are compared at once."""
    metrics = {one.key for run in runs for one in run.metrics} if choices is None else choices
    if len(metrics) * len(runs) > MAX_VALUES:
        raise InvalidValueError(
            f"The runs have {len(metrics)} metrics in all, which makes more than {MAX_VALUES}"
            " values; name those to compare by",
            field="metrics",
        )
    params = {key for run in runs for key in run.params}
    if len(params) * len(runs) > MAX_VALUES:
        raise InvalidValueError(
            f"The runs have {len(params)} params in all, which makes more than {MAX_VALUES} values;"
            " compare fewer runs",
            field="run_ids",
        )


def _shown(run: Run) -> bytes:
    """A ComparedRun."""
    return msgspec.json.encode(
        {
            "run_id": run.run_id.hex,
            "name": run.name,
            "status": run_status(run),
            "params": run.params,
            "metrics": {metric.key: shown_number(metric.value) for metric in run.metrics},
        }
    )


def _compared(compared: comparison.Comparison) -> bytes:
    """A Comparison."""
    return msgspec.json.encode(
        {
            "best_run": compared.best_run,
            "metric_comparison": {
                name: {
                    "direction": one.direction,
                    "direction_inferred": one.direction_inferred,
                    "best_run_id": one.best_run_id,
                    "best_value": shown_number(one.best_value),
                    "all_values": {
                        run_id: shown_number(value) for run_id, value in one.all_values.items()
                    },
                }
                for name, one in compared.metrics.items()
            },
            "params": compared.params,
        }
    )


def _choices(metrics: Sequence[ComparedMetric] | None) -> list[MetricChoice] | None:
    """Raises InvalidValueError for a metric that is named twice."""
    if metrics is None:
        return None
    names = set()
    for index, metric in enumerate(metrics):
        validation.key(metric.name, f"metrics[{index}].name")
        if metric.name in names:
            raise InvalidValueError(
                f"The metric '{metric.name}' is named twice", field=f"metrics[{index}].name"
            )
        names.add(metric.name)
    return [MetricChoice(metric.name, metric.direction) for metric in metrics]
