"""Runs: create, find, change, end, delete."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import Field

from app.api.workbench.dependencies import ReadTenant, RunId, ServicesDep, WriteTenant
from app.api.workbench.json_body import JsonRoute
from app.api.workbench.openapi import answers
from app.api.workbench.schemas import (
    CreateRun,
    EndRun,
    Run,
    RunPage,
    RunStatus,
    UpdateRun,
    shown_runs,
    with_description,
)
from app.api.workbench.types import Body, Limit, Offset, Stage, check_params, check_tags
from app.kernel import validation
from app.kernel.clock import now_ms
from app.kernel.errors import InvalidValueError, NotFoundError
from app.kernel.tenant import Tenant
from app.runs import entities
from app.runs.entities import DESCRIPTION_TAG, PARENT_RUN_TAG
from app.runs.rendering import RenderedRun
from app.services import Services

router = APIRouter(prefix="/experiments/runs", tags=["runs"], route_class=JsonRoute)


class ListRuns(Body):
    """Which runs to list."""

    experiment_id: list[str] = Field(
        default=[],
        description="Repeat it for several. Without one, the runs of all experiments.",
        max_length=1000,
    )
    status: list[RunStatus] = Field(default=[], description="Repeat it for several.")
    filter: str = Field(
        default="",
        description="In MLflow's filter language.",
        examples=["metrics.val_loss < 0.3 AND params.model = 'xgboost'"],
    )
    order_by: list[str] = Field(
        default=[],
        description="As in MLflow; repeat it for several. Without one, the newest come first.",
        examples=[["metrics.val_loss ASC"]],
    )
    lifecycle_stage: Stage = Field(default=Stage.ACTIVE, description="Deleted ones, or both.")
    limit: Limit = 100
    offset: Offset = 0


@router.post("", status_code=201, summary="Create a run", responses=answers(404, 409, 413, 415))
async def create_run(body: CreateRun, services: ServicesDep, tenant: WriteTenant) -> Run:
    """The run is `running` from now on, until it is ended.

    404 where the experiment or the parent run does not exist, 409 in an archived experiment.
    """
    check_tags(body.tags)
    check_params(body.params)
    validation.text(body.name, "name")
    validation.text(body.description, "description")
    tenant = await services.tenant_lookup.ensure_created(tenant)
    tags = dict(body.tags)
    if body.description:
        tags[DESCRIPTION_TAG] = body.description
    if body.parent_run_id is not None:
        tags[PARENT_RUN_TAG] = await _existing_parent(services, tenant, body.parent_run_id)
    run = await services.runs.create(
        tenant, body.experiment_id, name=body.name, tags=tags, params=body.params
    )
    return Run.of(run, artifacts=[])


async def _existing_parent(services: Services, tenant: Tenant, run_id: str) -> str:
    try:
        return (await services.runs.get_info(tenant, run_id)).run_id.hex
    except NotFoundError as error:
        raise NotFoundError(error.message, field="parent_run_id") from error


@router.get("", summary="List runs", response_model=RunPage, responses=answers())
async def list_runs(
    query: Annotated[ListRuns, Query()], services: ServicesDep, tenant: ReadTenant
) -> Response:
    """The runs that match all that is given, with a count of them.

    An experiment that does not exist has no runs. Without `experiment_id`, runs of archived
    experiments are listed like those that were deleted by themselves.
    """
    found, total = await services.runs.search_and_count(
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
    """A deleted one is shown too, with the lifecycle stage `deleted`."""
    run = await services.runs.get_rendered(tenant, run_id, render)
    (body,) = await _with_artifacts(services, tenant, [run])
    return Response(body, media_type="application/json")


@router.patch(
    "/{run_id}", summary="Rename, describe or tag a run", responses=answers(404, 409, 413, 415)
)
async def update_run(
    run_id: RunId, body: UpdateRun, services: ServicesDep, tenant: WriteTenant
) -> Run:
    """Changes all that is given, or nothing. A deleted run must be restored first."""
    check_tags(body.tags)
    validation.text(body.name, "name")
    validation.text(body.description or "", "description")
    await services.runs.update(
        tenant, run_id, name=body.name or None, tags=with_description(body.tags, body)
    )
    return await _shown(services, tenant, run_id)


@router.delete("/{run_id}", status_code=204, summary="Delete a run", responses=answers(404))
async def delete_run(run_id: RunId, services: ServicesDep, tenant: WriteTenant) -> None:
    """The run can be restored. Deleting it again changes nothing."""
    run = await services.runs.get_info(tenant, run_id)
    if run.deleted_time is None:
        await services.runs.delete(tenant, run_id)


@router.post("/{run_id}/restore", summary="Restore a deleted run", responses=answers(404))
async def restore_run(run_id: RunId, services: ServicesDep, tenant: WriteTenant) -> Run:
    """Restoring an active run changes nothing."""
    await services.runs.restore(tenant, run_id)
    return await _shown(services, tenant, run_id)


@router.post("/{run_id}/end", summary="End a run", responses=answers(404, 409, 413, 415))
async def end_run(
    run_id: RunId, services: ServicesDep, tenant: WriteTenant, body: EndRun | None = None
) -> Run:
    """Without a body, the run is finished, now. To end it again corrects its status; the time of
    its end changes only where one is given."""
    body = body or EndRun()
    run = await services.runs.get_info(tenant, run_id)
    await services.runs.update(
        tenant, run_id, status=body.status.upper(), end_time=_end_time(run, body.end_time)
    )
    return await _shown(services, tenant, run_id)


def _end_time(run: entities.Run, given: int | None) -> int:
    if given is None:
        # A client whose clock is ahead may have started the run later than now.
        return run.end_time if run.end_time is not None else max(now_ms(), run.start_time)
    if given < run.start_time:
        raise InvalidValueError(
            f"The end time {given} is before the run's start time {run.start_time}",
            field="end_time",
        )
    return given


def render(run: entities.Run) -> bytes:
    """All but the artifacts: they come and go without a new version of the run."""
    return Run.of(run, artifacts=[]).model_dump_json(exclude={"artifacts"}).encode()


async def _with_artifacts(
    services: Services, tenant: Tenant, runs: Sequence[RenderedRun]
) -> list[bytes]:
    paths = await services.artifacts.paths_of_runs(tenant, runs)
    return [
        b'%s,"artifacts":%s}' % (run.body[:-1], msgspec.json.encode(paths[run.run_id]))
        for run in runs
    ]


async def _shown(services: Services, tenant: Tenant, run_id: str) -> Run:
    (shown,) = await shown_runs(services, tenant, [await services.runs.get(tenant, run_id)])
    return shown
