"""MLflow's metric histories."""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from itertools import repeat
from math import isfinite
from typing import Any

import msgspec

from app.api.mlflow.decoding import SEE_DOCS
from app.api.mlflow.fields import Required, json_double
from app.api.mlflow.router import Call, Routes
from app.api.streamed_json import StreamedJson
from app.kernel import validation
from app.kernel.errors import InvalidValueError, RunNotFoundError
from app.kernel.principal import Role
from app.metrics.entities import PointColumns, PointRow
from app.metrics.service import MAX_PAGE

routes = Routes()

MAX_RUNS = 100
# The LIMIT of a statement; no metric has as many points.
MAX_HISTORY_RESULTS = 2**31
MAX_BULK_RESULTS = 25_000
MAX_INTERVAL_RESULTS = 2_500

SLICE = 5_000  # points that are encoded at once


class Metric(msgspec.Struct, gc=False):
    """Not tracked by the garbage collector, since a page has 25,000: they cannot be part of a
    cycle."""

    key: str
    value: float | str
    timestamp: int
    step: int


class MetricOfRun(msgspec.Struct, gc=False):
    key: str
    value: float | str
    timestamp: int
    step: int
    run_id: str


class GetHistory(msgspec.Struct):
    run_id: str = ""
    run_uuid: str = ""
    metric_key: str = ""
    page_token: str = ""
    max_results: int | None = None


class History(msgspec.Struct, omit_defaults=True):
    metrics: list[Metric] = []
    next_page_token: str | None = None


class GetBulk(msgspec.Struct):
    run_id: list[str] = []
    metric_key: str | None = None
    max_results: int = MAX_BULK_RESULTS


class GetInterval(msgspec.Struct):
    run_ids: list[str]
    metric_key: Required
    start_step: int | None = None
    end_step: int | None = None
    max_results: int = MAX_INTERVAL_RESULTS


@routes.add("GET", "metrics/get-history", GetHistory, Role.READ)
async def get_history(call: Call, message: GetHistory) -> History | StreamedJson:
    run_id = message.run_id or message.run_uuid
    if not run_id:
        raise validation.missing("run_id")
    if not message.metric_key:
        raise validation.missing("metric_key")
    if message.max_results is not None and message.max_results <= 0:
        raise InvalidValueError(
            f"Invalid value {message.max_results} for parameter 'max_results' supplied. It must"
            " be a positive integer.",
            field="max_results",
        )
    limit = message.max_results and min(message.max_results, MAX_HISTORY_RESULTS)
    is_one_page = limit is not None and limit <= MAX_PAGE
    pages = call.services.metrics.history_pages(
        call.tenant,
        run_id,
        message.metric_key,
        limit=limit,
        page_token=message.page_token or None,
        size=MAX_PAGE if is_one_page else SLICE,
    )
    first = None
    with suppress(RunNotFoundError):  # in MLflow, such a run has an empty history
        first = await anext(pages, None)
    points, token = first or (PointColumns([], [], []), None)
    if is_one_page or token is None:
        return History(_metrics(message.metric_key, points), token)
    return StreamedJson(_encoded_pages(call, message.metric_key, points, token, pages))


def _metrics(key: str, points: PointColumns) -> list[Metric]:
    values: list[Any] = points.values
    if not all(map(isfinite, values)):
        values = list(map(json_double, values))
    # A page has 25,000: `map` over C functions runs no Python code for each.
    return list(map(Metric, repeat(key), values, points.timestamps, points.steps))


async def _encoded_pages(
    call: Call,
    key: str,
    points: PointColumns,
    token: str | None,
    pages: AsyncIterator[tuple[PointColumns, str | None]],
) -> AsyncIterator[bytes]:
    """The JSON of a History, from its first page on."""
    separator = b'{"metrics":['
    while True:
        async with call.services.turns.turn(call.tenant):
            page = msgspec.json.encode(_metrics(key, points))[1:-1]
        yield separator + page
        separator = b","
        next_page = await anext(pages, None)
        if next_page is None:
            break
        points, token = next_page
    yield b"]}" if token is None else b'],"next_page_token":%s}' % msgspec.json.encode(token)


@routes.add("GET", "metrics/get-history-bulk", GetBulk, Role.READ)
async def get_history_bulk(call: Call, message: GetBulk) -> bytes:
    if not message.run_id:
        raise InvalidValueError(
            "GetMetricHistoryBulk request must specify at least one run_id.", field="run_id"
        )
    if len(message.run_id) > MAX_RUNS:
        raise InvalidValueError(
            f"GetMetricHistoryBulk request cannot specify more than {MAX_RUNS} run_ids."
            f" Received {len(message.run_id)} run_ids.",
            field="run_id",
        )
    if message.metric_key is None:
        raise InvalidValueError(
            "GetMetricHistoryBulk request must specify a metric_key.", field="metric_key"
        )
    if message.max_results < 0:
        raise InvalidValueError("max_results must not be negative.", field="max_results")
    rows = await call.services.metrics.histories(
        call.tenant,
        message.run_id,
        message.metric_key,
        limit=min(message.max_results, MAX_BULK_RESULTS),
    )
    key = message.metric_key
    slices = []
    for start in range(0, len(rows), SLICE):
        async with call.services.turns.turn(call.tenant):
            points = rows[start : start + SLICE]
            metrics = [MetricOfRun(key, json_double(v), t, s, run.hex) for run, t, s, v in points]
            slices.append(msgspec.json.encode(metrics)[1:-1])
    # MLflow writes this answer without protobuf: the field is there even if it is empty.
    return b'{"metrics":[%s]}' % b",".join(slices)


@routes.add("GET", "metrics/get-history-bulk-interval", GetInterval, Role.READ)
async def get_history_bulk_interval(call: Call, message: GetInterval) -> bytes:
    _check_interval(message)
    sampled = await call.services.metrics.sample_evenly(
        call.tenant,
        message.run_ids,
        message.metric_key,
        limit=message.max_results,
        step_min=message.start_step,
        step_max=message.end_step,
        render=render_sample,
    )
    # Each sample is a JSON list; the answer is their concatenation.
    metrics = b",".join(sample[1:-1] for sample in sampled if sample != b"[]")
    return b'{"metrics":[' + metrics + b"]}" if metrics else b"{}"


def render_sample(run_id: str, key: str, points: Sequence[PointRow]) -> bytes:
    """A run's sample of a metric as a JSON list."""
    return msgspec.json.encode(
        [MetricOfRun(key, json_double(v), t, s, run_id) for t, s, v in points]
    )


def _check_interval(message: GetInterval) -> None:
    if not message.run_ids:
        raise validation.missing("run_ids")
    if len(message.run_ids) > MAX_RUNS:
        raise InvalidValueError(
            f"GetMetricHistoryBulkInterval request must specify at most {MAX_RUNS} run_ids."
            f" Received {len(message.run_ids)} run_ids.{SEE_DOCS}",
            field="run_ids",
        )
    if not 1 <= message.max_results <= MAX_INTERVAL_RESULTS:
        raise InvalidValueError(
            f"max_results must be between 1 and {MAX_INTERVAL_RESULTS}.{SEE_DOCS}",
            field="max_results",
        )
    first, last = message.start_step, message.end_step
    if (first is None) != (last is None):
        raise InvalidValueError(
            "If either start step or end step are specified, both must be specified.",
            field="start_step" if first is None else "end_step",
        )
    if first is not None and last is not None:
        validation.int64(first, "start_step")
        validation.int64(last, "end_step")
        if first > last:
            raise InvalidValueError(
                "end_step must be greater than start_step."
                f" Found start_step={first} and end_step={last}.",
                field="end_step",
            )
