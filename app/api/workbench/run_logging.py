"""Logging metrics, params and tags to a run, each request all or nothing."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import ConfigDict, Discriminator, Field, Tag

from app.api.workbench.dependencies import RUN_EXAMPLE, RunId, ServicesDep, WriteTenant
from app.api.workbench.json_body import BatchRoute
from app.api.workbench.openapi import answers
from app.api.workbench.problem_details import MAPPING, POINTS
from app.api.workbench.schemas import NewTags, example
from app.api.workbench.types import (
    Body,
    EpochMs,
    MetricValue,
    ParamValue,
    Shown,
    Step,
    check_params,
    check_tags,
)
from app.kernel import validation
from app.kernel.clock import now_ms
from app.metrics.entities import Point
from app.runs.entities import RunWrite

router = APIRouter(prefix="/experiments/runs/{run_id}", tags=["logging"], route_class=BatchRoute)

Params = Annotated[
    dict[str, ParamValue],
    Field(description="A param is written once; the same value again changes nothing."),
]


class LogMetrics(Body):
    """Metrics of one step."""

    model_config = ConfigDict(
        json_schema_extra=example({"metrics": {"val_loss": 0.231, "accuracy": 0.94}, "step": 10})
    )

    metrics: dict[str, MetricValue] = Field(min_length=1)
    step: Step = 0
    timestamp: EpochMs | None = Field(default=None, description="Epoch milliseconds; else now.")


class LogParams(Body):
    """Params by name."""

    model_config = ConfigDict(
        json_schema_extra=example({"params": {"learning_rate": 0.1, "booster": "gbtree"}})
    )

    params: Params = Field(min_length=1)


class BatchPoint(Body):
    """One value of a metric."""

    key: str
    value: MetricValue
    step: Step = 0
    timestamp: EpochMs | None = Field(default=None, description="Epoch milliseconds; else now.")


def _shape(value: object) -> str:
    return MAPPING if isinstance(value, dict) else POINTS


class LogBatch(Body):
    """Metrics, params and tags."""

    model_config = ConfigDict(
        json_schema_extra=example(
            {
                "metrics": [
                    {"key": "val_loss", "value": 0.31, "step": 1, "timestamp": 1763890200000},
                    {"key": "val_loss", "value": 0.27, "step": 2, "timestamp": 1763890260000},
                ],
                "params": {"learning_rate": 0.1},
                "tags": {"stage": "tuning"},
            },
            {"metrics": {"val_loss": 0.27}},
        )
    )

    # The discriminator keeps the errors of the shape that was not meant out of the answer.
    metrics: Annotated[
        Annotated[list[BatchPoint], Tag(POINTS)] | Annotated[dict[str, MetricValue], Tag(MAPPING)],
        Discriminator(_shape),
    ] = Field(default=[])
    params: Params = Field(default={})
    tags: NewTags = Field(default={})


class Logged(Shown):
    """What was written."""

    model_config = ConfigDict(
        json_schema_extra=example({"message": "Logged 2 metrics", "run_id": RUN_EXAMPLE})
    )

    message: str
    run_id: str


_ERRORS: dict[str, Any] = {"responses": answers(404, 409, 413, 415)}


@router.post("/log-metrics", summary="Log metrics of one step", **_ERRORS)
async def log_metrics(
    run_id: RunId, body: LogMetrics, services: ServicesDep, tenant: WriteTenant
) -> Logged:
    """Answers once the metrics are stored. At most 1000 at a time."""
    timestamp = now_ms() if body.timestamp is None else body.timestamp
    points = _points(body.metrics, timestamp, body.step)
    await services.runs.log(tenant, RunWrite(run_id, points=points))
    return _logged(run_id, metrics=points)


@router.post("/log-params", summary="Log params", **_ERRORS)
async def log_params(
    run_id: RunId, body: LogParams, services: ServicesDep, tenant: WriteTenant
) -> Logged:
    """409 where a param was logged with another value before; then none is written.

    At most 100 at a time.
    """
    check_params(body.params)
    await services.runs.log(tenant, RunWrite(run_id, params=body.params))
    return _logged(run_id, params=body.params)


@router.post("/log-batch", summary="Log metrics, params and tags together", **_ERRORS)
async def log_batch(
    run_id: RunId, body: LogBatch, services: ServicesDep, tenant: WriteTenant
) -> Logged:
    """All or nothing. At most 1000 metrics, 100 params, 100 tags, and 1 MB."""
    check_params(body.params)
    check_tags(body.tags)
    now = now_ms()
    if isinstance(body.metrics, dict):
        points = _points(body.metrics, now, step=0)
    else:
        points = [
            Point(one.key, one.value, now if one.timestamp is None else one.timestamp, one.step)
            for one in body.metrics
        ]
    await services.runs.log(
        tenant, RunWrite(run_id, points=points, params=body.params, tags=body.tags)
    )
    return _logged(run_id, metrics=points, params=body.params, tags=body.tags)


def _points(metrics: Mapping[str, float], timestamp: int, step: int) -> list[Point]:
    """Points of one step. Raises InvalidValueError naming a key that breaks a rule."""
    for key in metrics:
        validation.key(key, f"metrics.{key}")
    return [Point(key, value, timestamp, step) for key, value in metrics.items()]


def _logged(run_id: str, **written: Any) -> Logged:
    counts = ", ".join(f"{len(values)} {kind}" for kind, values in written.items())
    return Logged(message=f"Logged {counts}", run_id=run_id)
