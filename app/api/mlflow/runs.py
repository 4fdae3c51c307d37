"""MLflow's runs."""

import json
from typing import Any

import msgspec

from app.api.mlflow.fields import (
    KeyValue,
    Required,
    check_run_id,
    enum_name,
    experiment_id,
    json_double,
    key_values,
    page_size,
    params_by_key,
    tags_by_key,
    view_type,
)
from app.api.mlflow.inputs import RunInputs, RunOutputs, run_inputs, run_outputs
from app.api.mlflow.router import Call, Empty, Routes
from app.kernel import validation
from app.kernel.errors import InvalidValueError
from app.kernel.field_names import OF_SINGLE_ITEM
from app.kernel.principal import Role
from app.metrics.entities import Point
from app.runs import entities
from app.runs.entities import STATUSES, RunWrite

routes = Routes()

MAX_RESULTS = 50_000


class RunInfo(msgspec.Struct, omit_defaults=True):
    run_uuid: str
    experiment_id: str
    run_name: str
    user_id: str
    status: str
    start_time: int
    artifact_uri: str
    lifecycle_stage: str
    run_id: str
    end_time: int | None = None


class Metric(msgspec.Struct):
    key: str
    value: float | str
    timestamp: int
    step: int


class RunData(msgspec.Struct, omit_defaults=True):
    metrics: list[Metric] = []
    params: list[KeyValue] = []
    tags: list[KeyValue] = []


class Run(msgspec.Struct, omit_defaults=True):
    info: RunInfo
    data: RunData
    inputs: RunInputs
    outputs: RunOutputs | None = None


class RunAnswer(msgspec.Struct):
    run: Run


class RenderedRunAnswer(msgspec.Struct):
    run: msgspec.Raw


class CreateRun(msgspec.Struct):
    experiment_id: str = ""
    user_id: str = ""
    run_name: str = ""
    start_time: int = 0
    tags: list[KeyValue] = []


class RunId(msgspec.Struct):
    """`run_uuid` is the older name of `run_id`; where both are given, `run_id` counts."""

    run_id: str = ""
    run_uuid: str = ""


class UpdateRun(RunId):
    status: str | int | None = None
    end_time: int | None = None
    run_name: str = ""


class UpdateRunAnswer(msgspec.Struct):
    run_info: RunInfo


class SearchRuns(msgspec.Struct):
    experiment_ids: list[str] = []
    filter: str = ""
    run_view_type: str | int = "ACTIVE_ONLY"
    max_results: int = 1000
    order_by: list[str] = []
    page_token: str = ""


class SearchRunsAnswer(msgspec.Struct, omit_defaults=True):
    runs: list[msgspec.Raw] = []
    next_page_token: str | None = None


class LogMetric(RunId, kw_only=True):
    key: Required
    value: float
    timestamp: int
    step: int = 0
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None


class LogParam(RunId, kw_only=True):
    key: Required
    value: str = ""


class DeleteTag(RunId, kw_only=True):
    key: Required


class LogBatch(RunId):
    metrics: list[Point] = []
    params: list[KeyValue] = []
    tags: list[KeyValue] = []


class LogModel(msgspec.Struct):
    run_id: Required
    model_json: Required


@routes.add("POST", "runs/create", CreateRun, Role.WRITE)
async def create(call: Call, message: CreateRun) -> RunAnswer:
    run = await call.services.runs.create(
        call.tenant,
        experiment_id(message.experiment_id or "0"),
        name=message.run_name,
        user_id=message.user_id,
        start_time=message.start_time,
        tags=tags_by_key(message.tags),
    )
    created = run_message(run)
    created.outputs = None  # MLflow leaves them out of a new run alone
    return RunAnswer(created)


@routes.add("GET", "runs/get", RunId, Role.READ)
async def get(call: Call, message: RunId) -> RenderedRunAnswer:
    run = await call.services.runs.get_rendered(call.tenant, _run_id(message), render)
    return RenderedRunAnswer(msgspec.Raw(run.body))


@routes.add("POST", "runs/update", UpdateRun, Role.WRITE)
async def update(call: Call, message: UpdateRun) -> UpdateRunAnswer:
    run = await call.services.runs.update(
        call.tenant,
        _run_id(message),
        status=None if message.status is None else enum_name("status", message.status, STATUSES),
        end_time=message.end_time,
        name=message.run_name or None,
    )
    return UpdateRunAnswer(_info(run))


@routes.add("POST", "runs/delete", RunId, Role.WRITE)
async def delete(call: Call, message: RunId) -> Empty:
    await call.services.runs.delete(call.tenant, _newer_run_id(message))
    return Empty()


@routes.add("POST", "runs/restore", RunId, Role.WRITE)
async def restore(call: Call, message: RunId) -> Empty:
    await call.services.runs.restore(call.tenant, _newer_run_id(message))
    return Empty()


@routes.add("POST", "runs/search", SearchRuns, Role.READ)
async def search(call: Call, message: SearchRuns) -> SearchRunsAnswer:
    runs, token = await call.services.run_search.page(
        call.tenant,
        [experiment_id(given) for given in message.experiment_ids],
        filter=message.filter,
        order_by=message.order_by,
        view=view_type("run_view_type", message.run_view_type),
        limit=page_size(message.max_results, MAX_RESULTS),
        page_token=message.page_token or None,
        render=render,
    )
    return SearchRunsAnswer([msgspec.Raw(run) for run in runs], token)


@routes.add("POST", "runs/log-metric", LogMetric, Role.WRITE)
async def log_metric(call: Call, message: LogMetric) -> Empty:
    point = Point(
        message.key,
        message.value,
        message.timestamp,
        message.step,
        message.model_id or None,
        message.dataset_name,
        message.dataset_digest,
    )
    await call.services.runs.log(
        call.tenant, RunWrite(_run_id(message), points=[point], field_names=OF_SINGLE_ITEM)
    )
    return Empty()


@routes.add("POST", "runs/log-parameter", LogParam, Role.WRITE)
async def log_parameter(call: Call, message: LogParam) -> Empty:
    write = RunWrite(
        _run_id(message), params={message.key: message.value}, field_names=OF_SINGLE_ITEM
    )
    await call.services.runs.log(call.tenant, write)
    return Empty()


@routes.add("POST", "runs/set-tag", LogParam, Role.WRITE)
async def set_tag(call: Call, message: LogParam) -> Empty:
    write = RunWrite(
        _run_id(message), tags={message.key: message.value}, field_names=OF_SINGLE_ITEM
    )
    await call.services.runs.log(call.tenant, write)
    return Empty()


@routes.add("POST", "runs/delete-tag", DeleteTag, Role.WRITE)
async def delete_tag(call: Call, message: DeleteTag) -> Empty:
    await call.services.runs.delete_tag(call.tenant, _newer_run_id(message), message.key)
    return Empty()


@routes.add(
    "POST",
    "runs/log-batch",
    LogBatch,
    Role.WRITE,
    max_body_bytes=validation.MAX_BATCH_BYTES,
)
async def log_batch(call: Call, message: LogBatch) -> Empty:
    check_run_id(_newer_run_id(message))
    validation.batch(message.metrics, message.params, message.tags)
    write = RunWrite(
        message.run_id, message.metrics, params_by_key(message.params), tags_by_key(message.tags)
    )
    await call.services.runs.log(call.tenant, write)
    return Empty()


@routes.add("POST", "runs/log-model", LogModel, Role.WRITE)
async def log_model(call: Call, message: LogModel) -> Empty:
    model = _model_record(message.model_json)
    await call.services.runs.record_logged_model(call.tenant, message.run_id, model)
    return Empty()


def _model_record(model_json: str) -> dict[str, Any]:
    """The part of a model's description that the tag keeps: all but what only loading it needs.

    Raises InvalidValueError for what is no description of a model.
    """
    field = "model_json"
    try:
        model = json.loads(model_json)
    except (ValueError, RecursionError) as error:
        raise InvalidValueError(
            f"Malformed model info. \n {model_json} \n is not a valid JSON.", field=field
        ) from error
    required = ("artifact_path", "flavors", "utc_time_created", "run_id")
    absent = [name for name in required if not isinstance(model, dict) or name not in model]
    if absent:
        raise InvalidValueError(
            f"Model json is missing mandatory fields: {set(absent)}", field=field
        )
    if not isinstance(model["flavors"], dict):
        raise validation.invalid(f"{field}.flavors", model["flavors"], "it must be an object")
    flavors = {
        name: {key: value for key, value in flavor.items() if key != "config"}
        if isinstance(flavor, dict)
        else flavor
        for name, flavor in model["flavors"].items()
    }
    names = ("run_id", "artifact_path", "utc_time_created", "model_uuid")
    return {key: model.get(key) for key in names} | {"flavors": flavors}


def render(run: entities.Run) -> bytes:
    """A run as the JSON of MLflow's message."""
    return msgspec.json.encode(run_message(run))


def run_message(run: entities.Run) -> Run:
    """A run as MLflow's message."""
    return Run(
        info=_info(run),
        data=RunData(
            [Metric(m.key, json_double(m.value), m.timestamp, m.step) for m in run.metrics],
            key_values(run.params),
            key_values(run.tags),
        ),
        inputs=run_inputs(run),
        outputs=run_outputs(run),
    )


def _info(run: entities.Run) -> RunInfo:
    run_id = run.run_id.hex
    return RunInfo(
        run_uuid=run_id,
        experiment_id=str(run.experiment_id),
        run_name=run.name,
        user_id=run.user_id,
        status=run.status,
        start_time=run.start_time,
        artifact_uri=run.artifact_uri,
        lifecycle_stage=run.lifecycle_stage,
        run_id=run_id,
        end_time=run.end_time or None,  # to MLflow, 0 is none
    )


def _run_id(message: RunId) -> str:
    run_id = message.run_id or message.run_uuid
    if not run_id:
        raise validation.missing("run_id")
    return run_id


def _newer_run_id(message: RunId) -> str:
    """`run_id`, for calls that never had the older name. As in MLflow, a run that only `run_uuid`
    names is the one without an id there, which does not exist."""
    if not message.run_id and not message.run_uuid:
        raise validation.missing("run_id")
    return message.run_id
