"""Routes of experiments: create, list, get, update, archive, restore."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from app.api.workbench.dependencies import (
    ExperimentId,
    ReadTenant,
    ServicesDep,
    WriteTenant,
)
from app.api.workbench.field_names import BY_KEY
from app.api.workbench.fields import Limit, Offset, RequestBody, Stage, refuse_mlflow_tags
from app.api.workbench.json_body import JsonRoute
from app.api.workbench.openapi import answers
from app.api.workbench.schemas import (
    CreateExperiment,
    Experiment,
    ExperimentPage,
    UpdateExperiment,
    with_description,
)
from app.runs.entities import DESCRIPTION_TAG

router = APIRouter(prefix="/experiments", tags=["experiments"], route_class=JsonRoute)


class ListExperiments(RequestBody):
    """The query of a list of experiments."""

    search: str = Field(default="", description="A part of the name; case is ignored.")
    lifecycle_stage: Stage = Field(
        default=Stage.ACTIVE, description="Active experiments, archived ones (`deleted`), or all."
    )
    limit: Limit = 100
    offset: Offset = 0


@router.post(
    "",
    status_code=201,
    summary="Create an experiment",
    responses=answers(404, 409, 413, 415),
)
async def create_experiment(
    body: CreateExperiment, services: ServicesDep, tenant: WriteTenant
) -> Experiment:
    """The name is unique in the tenant, archived experiments included: 409 if it is taken.

    If the server creates tenants by itself, the first experiment of a tenant creates the tenant.
    """
    refuse_mlflow_tags(body.tags)
    tags = dict(body.tags)
    if body.description:
        tags[DESCRIPTION_TAG] = body.description
    created = await services.experiments.create(
        tenant,
        body.name,
        artifact_location=body.artifact_location,
        tags=tags,
        field_names=BY_KEY,
    )
    return Experiment.of(await services.experiments.get(tenant, str(created)))


@router.get("", summary="List experiments", responses=answers())
async def list_experiments(
    query: Annotated[ListExperiments, Query()], services: ServicesDep, tenant: ReadTenant
) -> ExperimentPage:
    """Pages of experiments, the newest first."""
    found, total = await services.experiments.search_and_count(
        tenant,
        view=query.lifecycle_stage.view,
        name_contains=query.search,
        limit=query.limit,
        offset=query.offset,
    )
    return ExperimentPage(
        experiments=[Experiment.of(experiment) for experiment in found],
        total=total,
        limit=query.limit,
        offset=query.offset,
    )


@router.get("/{experiment_id}", summary="Get an experiment", responses=answers(404))
async def get_experiment(
    experiment_id: ExperimentId, services: ServicesDep, tenant: ReadTenant
) -> Experiment:
    """Archived experiments are returned too, with the lifecycle stage `deleted`."""
    return Experiment.of(await services.experiments.get(tenant, experiment_id))


@router.patch(
    "/{experiment_id}",
    summary="Rename, describe or tag an experiment",
    responses=answers(404, 409, 413, 415),
)
async def update_experiment(
    experiment_id: ExperimentId, body: UpdateExperiment, services: ServicesDep, tenant: WriteTenant
) -> Experiment:
    """Changes all given fields, or none. 409 for an archived experiment."""
    refuse_mlflow_tags(body.tags)
    await services.experiments.update(
        tenant,
        experiment_id,
        name=body.name or None,
        tags=with_description(body.tags, body),
        field_names=BY_KEY,
    )
    return Experiment.of(await services.experiments.get(tenant, experiment_id))


@router.delete(
    "/{experiment_id}", status_code=204, summary="Archive an experiment", responses=answers(404)
)
async def archive_experiment(
    experiment_id: ExperimentId, services: ServicesDep, tenant: WriteTenant
) -> None:
    """Archives the experiment with its runs; both can be restored. Archiving it again changes
    nothing."""
    found = await services.experiments.get(tenant, experiment_id)
    if found.deleted_time is None:
        await services.experiments.delete(tenant, experiment_id)


@router.post(
    "/{experiment_id}/restore", summary="Restore an archived experiment", responses=answers(404)
)
async def restore_experiment(
    experiment_id: ExperimentId, services: ServicesDep, tenant: WriteTenant
) -> Experiment:
    """Restores the experiment with its runs. Restoring an active experiment changes nothing."""
    found = await services.experiments.get(tenant, experiment_id)
    if found.deleted_time is not None:
        await services.experiments.restore(tenant, experiment_id)
        found = await services.experiments.get(tenant, experiment_id)
    return Experiment.of(found)
