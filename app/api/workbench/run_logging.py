"""Routes that log metrics, params and tags to a run; each request is all or nothing."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import ConfigDict, Discriminator, Field, Tag

from app.api.workbench.dependencies import RUN_EXAMPLE, RunId, ServicesDep, WriteTenant
from app.api.workbench.field_names import BY_KEY, METRICS_IN_LIST
from app.api.workbench.fields import (
    EpochMs,
    MetricValue,
    ParamValue,
    RequestBody,
    ResponseBody,
    Step,
    refuse_mlflow_tags,
)
from app.api.workbench.json_body import BatchRoute
from app.api.workbench.openapi import answers
from app.api.workbench.problem_details import MAPPING, POINTS
from app.api.workbench.schemas import NewTags, example
from app.kernel.clock import now_ms
from app.metrics.entities import Point
from app.runs.entities import RunWrite

router = APIRouter(prefix="/experiments/runs/{run_id}", tags=["logging"], route_class=BatchRoute)

Params = Annotated[
    dict[str, ParamValue],
    Field(description="A param keeps its first value; the same value again changes nothing."),
]


class LogMetrics(RequestBody):
    """Metrics of one step, by name."""

    model_config = ConfigDict(
        json_schema_extra=example({"metrics": {"val_loss": 0.231, "accuracy": 0.94}, "step": 10})
    )

    metrics: dict[str, MetricValue] = Field(min_length=1)
    step: Step = 0
    timestamp: EpochMs | None = Field(
        default=None, description="Epoch milliseconds; by default now."
    )


class LogParams(RequestBody):
    """Params by name."""

    model_config = ConfigDict(
        json_schema_extra=example({"params": {"learning_rate": 0.1, "booster": "gbtree"}})
    )

    params: Params = Field(min_length=1)


class BatchPoint(RequestBody):
    """One value of a metric."""

    key: str
    value: MetricValue
    step: Step = 0
    timestamp: EpochMs | None = Field(
        default=None, description="Epoch milliseconds; by default now."
    )


def _shape_of_metrics(value: object) -> str:
    return MAPPING if isinstance(value, dict) else POINTS


class LogBatch(RequestBody):
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

    # With a discriminator, pydantic reports the errors of the given shape alone.
    metrics: Annotated[
        Annotated[list[BatchPoint], Tag(POINTS)] | Annotated[dict[str, MetricValue], Tag(MAPPING)],
        Discriminator(_shape_of_metrics),
    ] = Field(default=[])
    params: Params = Field(default={})
    tags: NewTags = Field(default={})


class Logged(ResponseBody):
    """Confirms what was logged."""

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
    """At most 1000 metrics. The answer is sent once they are stored."""
    timestamp = now_ms() if body.timestamp is None else body.timestamp
    points = _points(body.metrics, timestamp, body.step)
    await services.runs.log(tenant, RunWrite(run_id, points=points, field_names=BY_KEY))
    return _logged(run_id, metrics=points)


@router.post("/log-params", summary="Log params", **_ERRORS)
async def log_params(
    run_id: RunId, body: LogParams, services: ServicesDep, tenant: WriteTenant
) -> Logged:
    """At most 100 params. 409 if one was logged with another value before; then none is logged."""
    await services.runs.log(tenant, RunWrite(run_id, params=body.params, field_names=BY_KEY))
    return _logged(run_id, params=body.params)


@router.post("/log-batch", summary="Log metrics, params and tags together", **_ERRORS)
async def log_batch(
    run_id: RunId, body: LogBatch, services: ServicesDep, tenant: WriteTenant
) -> Logged:
    """Logs all or nothing. At most 1000 metrics, 100 params and 100 tags in 1 MB."""
    refuse_mlflow_tags(body.tags)
    now = now_ms()
    if isinstance(body.metrics, dict):
        points, names = _points(body.metrics, now, step=0), BY_KEY
    else:
        points, names = [_point(point, now) for point in body.metrics], METRICS_IN_LIST
    await services.runs.log(
        tenant,
        RunWrite(run_id, points=points, params=body.params, tags=body.tags, field_names=names),
    )
    return _logged(run_id, metrics=points, params=body.params, tags=body.tags)


def _points(metrics: Mapping[str, float], timestamp: int, step: int) -> list[Point]:
    """Points of one step."""
    return [Point(key, value, timestamp, step) for key, value in metrics.items()]


def _point(point: BatchPoint, now: int) -> Point:
    timestamp = now if point.timestamp is None else point.timestamp
    return Point(point.key, point.value, timestamp, point.step)


def _logged(run_id: str, **written: Any) -> Logged:
    counts = ", ".join(f"{len(values)} {kind}" for kind, values in written.items())
    return Logged(message=f"Logged {counts}", run_id=run_id)
