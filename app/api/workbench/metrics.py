"""The route of metric histories."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Response
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from app.api.workbench.dependencies import (
    RUN_EXAMPLE,
    AuthorizedRoute,
    ReadTenant,
    RunId,
    ServicesDep,
)
from app.api.workbench.fields import ResponseBody, ShownNumber, Time, iso_time, json_number
from app.api.workbench.openapi import answers
from app.api.workbench.schemas import example
from app.kernel.errors import InvalidValueError
from app.kernel.validation import INT64_MAX, INT64_MIN
from app.metrics.entities import PointRow

router = APIRouter(
    prefix="/experiments/runs/{run_id}/metrics", tags=["metrics"], route_class=AuthorizedRoute
)

# The most points of an answer; a longer history is sampled.
MAX_POINTS = 100_000

QueryStep = Annotated[int, Field(ge=INT64_MIN, le=INT64_MAX)]


class HistoryPoint(TypedDict):
    """A value, with its step and the time that it was logged with."""

    step: int
    timestamp: Time
    value: ShownNumber


class MetricHistory(ResponseBody):
    """The values of a metric in the order of their steps."""

    model_config = ConfigDict(
        json_schema_extra=example(
            {
                "run_id": RUN_EXAMPLE,
                "key": "val_loss",
                "total": 2,
                "sampled": False,
                "points": [
                    {"step": 1, "timestamp": "2025-11-23T09:30:00.000Z", "value": 0.31},
                    {"step": 2, "timestamp": "2025-11-23T09:31:00.000Z", "value": 0.27},
                ],
            }
        )
    )

    run_id: str
    key: str
    total: int = Field(description="The number of points between the steps.")
    sampled: bool = Field(description="Whether `points` is a sample.")
    points: list[HistoryPoint]


class _Point(msgspec.Struct, gc=False):
    """A HistoryPoint, of which an answer has up to 100,000."""

    step: int
    timestamp: str
    value: float | str | None


# How many points are encoded at once, and about how many bytes a point takes in memory.
SLICE = 2_000
_POINT_BYTES = 80


@router.get(
    "/{key:rest}",
    summary="Get a metric's history",
    response_model=MetricHistory,
    responses=answers(404),
)
async def get_metric_history(
    run_id: RunId,
    key: Annotated[
        str, Path(description="The metric's name; it may contain slashes.", examples=["val_loss"])
    ],
    services: ServicesDep,
    tenant: ReadTenant,
    max_points: Annotated[
        int,
        Query(ge=2, le=MAX_POINTS, description="A longer history is sampled down to this."),
    ] = MAX_POINTS,
    step_min: Annotated[QueryStep | None, Query(description="The first step.")] = None,
    step_max: Annotated[QueryStep | None, Query(description="The last step.")] = None,
) -> Response:
    """All points between two steps, or a sample of them: the lowest and the highest point of each
    of `max_points / 2` even parts. A metric that was never logged has no points."""
    if step_min is not None and step_max is not None and step_min > step_max:
        raise InvalidValueError(
            f"step_min {step_min} is above step_max {step_max}", field="step_min"
        )
    sampled = await services.metrics.sample_extremes(
        tenant, run_id, key, max_points=max_points, step_min=step_min, step_max=step_max
    )
    points = sampled.points
    await services.memory.hold_rows(tenant, _POINT_BYTES * len(points))
    slices = []
    for start in range(0, len(points), SLICE):
        async with services.turns.turn(tenant):
            slices.append(_encode_points(points[start : start + SLICE]))
    head = msgspec.json.encode(
        {
            "run_id": run_id,
            "key": key,
            "total": sampled.total,
            "sampled": len(points) < sampled.total,
        }
    )
    body = b'%s,"points":[%s]}' % (head[:-1], b",".join(slices))
    return Response(body, media_type="application/json")


def _encode_points(points: Sequence[PointRow]) -> bytes:
    """The JSON of HistoryPoints, separated by commas."""
    encodable = [_Point(step, iso_time(time), json_number(value)) for time, step, value in points]
    return msgspec.json.encode(encodable)[1:-1]
