"""Routes of runs: create, list, get, update, end, delete, restore."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import Field

from app.api.workbench.dependencies import ReadTenant, RunId, ServicesDep, WriteTenant
from app.api.workbench.field_names import BY_KEY
from app.api.workbench.fields import Limit, Offset, RequestBody, Stage, refuse_mlflow_tags
from app.api.workbench.json_body import JsonRoute
from app.api.workbench.openapi import answers
from app.api.workbench.schemas import (
    CreateRun,
    EndRun,
    Run,
    RunPage,
    RunStatus,
    UpdateRun,
    with_description,
)
from app.kernel.clock import now_ms
from app.kernel.errors import InvalidValueError, NotFoundError
from app.kernel.tenant import Tenant
from app.runs import entities
from app.runs.entities import DESCRIPTION_TAG, PARENT_RUN_TAG
from app.runs.rendering import RenderedRun
from app.services import Services

router = APIRouter(prefix="/experiments/runs", tags=["runs"], route_class=JsonRoute)


class ListRuns(RequestBody):
    """The query of a list of runs."""

    experiment_id: list[str] = Field(
        default=[],
        description="May be repeated. By default, runs of all experiments.",
        max_length=1000,
    )
    status: list[RunStatus] = Field(default=[], description="May be repeated. By default, any.")
    filter: str = Field(
        default="",
        description="A filter in MLflow's search syntax.",
        examples=["metrics.val_loss < 0.3 AND params.model = 'xgboost'"],
    )
    order_by: list[str] = Field(
        default=[],
        description="A sort key in MLflow's syntax; may be repeated. By default, the newest first.",
        examples=[["metrics.val_loss ASC"]],
    )
    lifecycle_stage: Stage = Field(
        default=Stage.ACTIVE, description="Active runs, deleted runs, or all."
    )
    limit: Limit = 100
    offset: Offset = 0


@router.post("", status_code=201, summary="Create a run", responses=answers(404, 409, 413, 415))
async def create_run(body: CreateRun, services: ServicesDep, tenant: WriteTenant) -> Run:
    """The run has the status `running` until it is ended.

    404 if the experiment or the parent run does not exist, 409 if the experiment is archived.
    """
    refuse_mlflow_tags(body.tags)
    tags = dict(body.tags)
    if body.description:
        tags[DESCRIPTION_TAG] = body.description
    if body.parent_run_id is not None:
        tags[PARENT_RUN_TAG] = await _existing_parent(services, tenant, body.parent_run_id)
    run = await services.runs.create(
        tenant,
        body.experiment_id,
        name=body.name,
        tags=tags,
        params=body.params,
        field_names=BY_KEY,
    )
    return Run.of(run, artifacts=[])


async def _existing_parent(services: Services, tenant: Tenant, run_id: str) -> str:
    """The id of the parent run as stored. Raises NotFoundError."""
    try:
        return (await services.runs.get_info(tenant, run_id)).run_id.hex
    except NotFoundError as error:
        raise NotFoundError(error.message, field="parent_run_id") from error


@router.get("", summary="List runs", response_model=RunPage, responses=answers())
async def list_runs(
    query: Annotated[ListRuns, Query()], services: ServicesDep, tenant: ReadTenant
) -> Response:
    """The runs that match all conditions, page by page, and their total number.

    An experiment that does not exist has no runs. Runs of archived experiments count as deleted.
    Where the page would take more than 8 MB, values of params and tags are cut to 1000 characters,
    with an ellipsis at their end.
    """
    found, total = await services.run_search.page_and_count(
        tenant,
        query.experiment_id or None,
        filter=query.filter,
        order_by=query.order_by,
        statuses=[status.upper() for status in query.status],
        view=query.lifecycle_stage.view,
        limit=query.limit,
        offset=query.offset,
        render=render,
    )
    page = {
        "runs": [msgspec.Raw(run) for run in await _with_artifacts(services, tenant, found)],
        "total": total,
        "limit": query.limit,
        "offset": query.offset,
    }
    return Response(msgspec.json.encode(page), media_type="application/json")


@router.get("/{run_id}", summary="Get a run", response_model=Run, responses=answers(404))
async def get_run(run_id: RunId, services: ServicesDep, tenant: ReadTenant) -> Response:
    """Deleted runs are returned too, with the lifecycle stage `deleted`."""
    run = await services.runs.get_rendered(tenant, run_id, render)
    (body,) = await _with_artifacts(services, tenant, [run])
    return Response(body, media_type="application/json")


@router.patch(
    "/{run_id}", summary="Rename, describe or tag a run", responses=answers(404, 409, 413, 415)
)
async def update_run(
    run_id: RunId, body: UpdateRun, services: ServicesDep, tenant: WriteTenant
) -> Run:
    """Changes all given fields, or none. 409 for a deleted run."""
    refuse_mlflow_tags(body.tags)
    await services.runs.update(
        tenant,
        run_id,
        name=body.name or None,
        tags=with_description(body.tags, body),
        field_names=BY_KEY,
    )
    return await _read(services, tenant, run_id)


@router.delete("/{run_id}", status_code=204, summary="Delete a run", responses=answers(404))
async def delete_run(run_id: RunId, services: ServicesDep, tenant: WriteTenant) -> None:
    """A deleted run can be restored. Deleting it again changes nothing."""
    run = await services.runs.get_info(tenant, run_id)
    if run.deleted_time is None:
        await services.runs.delete(tenant, run_id)


@router.post("/{run_id}/restore", summary="Restore a deleted run", responses=answers(404))
async def restore_run(run_id: RunId, services: ServicesDep, tenant: WriteTenant) -> Run:
    """Restoring an active run changes nothing."""
    await services.runs.restore(tenant, run_id)
    return await _read(services, tenant, run_id)


@router.post("/{run_id}/end", summary="End a run", responses=answers(404, 409, 413, 415))
async def end_run(
    run_id: RunId, services: ServicesDep, tenant: WriteTenant, body: EndRun | None = None
) -> Run:
    """Without a body, the run finishes now. Ending a run again changes its status, and its end
    time only if one is given."""
    body = body or EndRun()
    run = await services.runs.get_info(tenant, run_id)
    await services.runs.update(
        tenant, run_id, status=body.status.upper(), end_time=_end_time(run, body.end_time)
    )
    return await _read(services, tenant, run_id)


def _end_time(run: entities.Run, given: int | None) -> int:
    """The end time to store. Raises InvalidValueError for one before the start."""
    if given is None:
        # A client's clock may be ahead, and so the start time later than now.
        return run.end_time if run.end_time is not None else max(now_ms(), run.start_time)
    if given < run.start_time:
        raise InvalidValueError(
            f"The end time {given} is before the run's start time {run.start_time}",
            field="end_time",
        )
    return given


def render(run: entities.Run) -> bytes:
    """The JSON of a run without `artifacts`, which change without a new version of the run."""
    return Run.of(run, artifacts=[]).model_dump_json(exclude={"artifacts"}).encode()


async def _with_artifacts(
    services: Services, tenant: Tenant, runs: Sequence[RenderedRun]
) -> list[bytes]:
    """The JSON of each run, with the paths of its artifacts."""
    uris = {run.run_id: run.artifact_uri for run in runs}
    paths = await services.artifacts.first_paths(tenant, uris)
    return [
        b'%s,"artifacts":%s}' % (run.body[:-1], msgspec.json.encode(paths[run.run_id]))
        for run in runs
    ]


async def _read(services: Services, tenant: Tenant, run_id: str) -> Run:
    run = await services.runs.get(tenant, run_id)
    paths = await services.artifacts.first_paths(tenant, {run.run_id: run.artifact_uri})
    return Run.of(run, paths[run.run_id])
