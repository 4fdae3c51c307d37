"""Experiments: create, list, change, archive."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from app.api.workbench.dependencies import (
    ExperimentId,
    ReadTenant,
    ServicesDep,
    WriteTenant,
)
from app.api.workbench.json_body import JsonRoute
from app.api.workbench.openapi import answers
from app.api.workbench.schemas import (
    CreateExperiment,
    Experiment,
    ExperimentPage,
    UpdateExperiment,
    with_description,
)
from app.api.workbench.types import Body, Limit, Offset, Stage, check_tags
from app.kernel import validation
from app.kernel.validation import MAX_EXPERIMENT_TAG_VALUE_LENGTH
from app.runs.entities import DESCRIPTION_TAG

router = APIRouter(prefix="/experiments", tags=["experiments"], route_class=JsonRoute)


class ListExperiments(Body):
    """Which experiments to list."""

    search: str = Field(default="", description="What the name contains, in any case.")
    lifecycle_stage: Stage = Field(default=Stage.ACTIVE, description="Deleted ones, or both.")
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
    """The name is unique in the tenant, archived experiments included: 409 where it is taken.

    The first experiment that a tenant creates brings the tenant into being.
    """
    check_tags(body.tags, MAX_EXPERIMENT_TAG_VALUE_LENGTH)
    validation.text(body.description, "description")
    tags = dict(body.tags)
    if body.description:
        tags[DESCRIPTION_TAG] = body.description
    tenant = await services.tenant_lookup.ensure_created(tenant)
    created = await services.experiments.create(
        tenant, body.name, artifact_location=body.artifact_location, tags=tags
    )
    return Experiment.of(await services.experiments.get(tenant, str(created)))


@router.get("", summary="List experiments", responses=answers())
async def list_experiments(
    query: Annotated[ListExperiments, Query()], services: ServicesDep, tenant: ReadTenant
) -> ExperimentPage:
    """The newest come first."""
    validation.text(query.search, "search")
    found, total = await services.experiments.search_and_count(
        tenant,
        view=query.lifecycle_stage.view,
        name_contains=query.search,
        limit=query.limit,
        offset=query.offset,
    )
    return ExperimentPage(
        experiments=[Experiment.of(one) for one in found],
        total=total,
        limit=query.limit,
        offset=query.offset,
    )


@router.get("/{experiment_id}", summary="Get an experiment", responses=answers(404))
async def get_experiment(
    experiment_id: ExperimentId, services: ServicesDep, tenant: ReadTenant
) -> Experiment:
    """An archived one is shown too, with the lifecycle stage `deleted`."""
    return Experiment.of(await services.experiments.get(tenant, experiment_id))


@router.patch(
    "/{experiment_id}",
    summary="Rename, describe or tag an experiment",
    responses=answers(404, 409, 413, 415),
)
async def update_experiment(
    experiment_id: ExperimentId, body: UpdateExperiment, services: ServicesDep, tenant: WriteTenant
) -> Experiment:
    """Changes all that is given, or nothing. An archived experiment must be restored first."""
    check_tags(body.tags, MAX_EXPERIMENT_TAG_VALUE_LENGTH)
    validation.text(body.description or "", "description")
    await services.experiments.update(
        tenant, experiment_id, name=body.name or None, tags=with_description(body.tags, body)
    )
    return Experiment.of(await services.experiments.get(tenant, experiment_id))


@router.delete(
    "/{experiment_id}", status_code=204, summary="Archive an experiment", responses=answers(404)
)
async def archive_experiment(
    experiment_id: ExperimentId, services: ServicesDep, tenant: WriteTenant
) -> None:
    """Its runs go with it, and both come back by a restore. Archiving it again changes nothing."""
    found = await services.experiments.get(tenant, experiment_id)
    if found.deleted_time is None:
        await services.experiments.delete(tenant, experiment_id)


@router.post(
    "/{experiment_id}/restore", summary="Restore an archived experiment", responses=answers(404)
)
async def restore_experiment(
    experiment_id: ExperimentId, services: ServicesDep, tenant: WriteTenant
) -> Experiment:
    """Brings back the experiment and its runs. Restoring an active one changes nothing."""
    found = await services.experiments.get(tenant, experiment_id)
    if found.deleted_time is not None:
        await services.experiments.restore(tenant, experiment_id)
        found = await services.experiments.get(tenant, experiment_id)
    return Experiment.of(found)
