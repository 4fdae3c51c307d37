"""Schemas of experiments and runs, in requests and answers."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import ConfigDict, Field

from app.api.workbench.dependencies import EXPERIMENT_EXAMPLE, RUN_EXAMPLE
from app.api.workbench.fields import (
    EpochMs,
    ParamValue,
    RequestBody,
    ResponseBody,
    ShownNumber,
    Time,
    iso_time,
    without_mlflow_tags,
)
from app.experiments import entities as experiments
from app.runs import entities as runs
from app.runs.entities import DESCRIPTION_TAG, PARENT_RUN_TAG

USER_TAG = "mlflow.user"

MAX_RUN_NAME_LENGTH = 8_000
MAX_RUN_DESCRIPTION_LENGTH = 65_536

RunStatus = Literal["running", "scheduled", "finished", "failed", "killed"]
LifecycleStage = Literal["active", "deleted"]

ExperimentName = Annotated[str, Field(min_length=1, max_length=255)]
ExperimentDescription = Annotated[str, Field(max_length=1000)]
RunName = Annotated[str, Field(min_length=1, max_length=MAX_RUN_NAME_LENGTH)]
RunDescription = Annotated[str, Field(max_length=MAX_RUN_DESCRIPTION_LENGTH)]
NewTags = Annotated[
    dict[str, str],
    Field(
        description="Tags that start with `mlflow.` cannot be set. `matih.tenant_id`, which is"
        " derived from the tenant, is ignored."
    ),
]
ChangedTags = Annotated[
    dict[str, str | None], Field(description="Merged with the present tags; null removes a tag.")
]

_EXPERIMENT = {
    "id": EXPERIMENT_EXAMPLE,
    "name": "churn-prediction-v2",
    "description": "Customer churn prediction",
    "artifact_location": f"mlflow-artifacts:/experiments/{EXPERIMENT_EXAMPLE}",
    "lifecycle_stage": "active",
    "created_at": "2025-11-23T09:30:00.000Z",
    "last_updated": "2025-11-23T09:30:00.000Z",
    "tags": {"team": "data-science", "matih.tenant_id": "acme-corp"},
}
_RUN = {
    "id": RUN_EXAMPLE,
    "experiment_id": EXPERIMENT_EXAMPLE,
    "name": "xgboost-baseline",
    "description": "",
    "status": "finished",
    "lifecycle_stage": "active",
    "user_id": "ada",
    "parent_run_id": None,
    "start_time": "2025-11-23T09:30:00.000Z",
    "end_time": "2025-11-23T09:42:07.250Z",
    "duration_seconds": 727.25,
    "tags": {"model_type": "xgboost", "matih.tenant_id": "acme-corp"},
    "params": {"learning_rate": "0.1"},
    "metrics": {"val_loss": 0.231},
    "artifacts": ["model/model.json"],
}


def run_status(run: runs.Run) -> RunStatus:
    """MLflow's status in lower case."""
    return cast(RunStatus, run.status.lower())


def example(*values: Any) -> dict[str, Any]:
    """The examples of a schema, for OpenAPI."""
    return {"examples": list(values)}


class Experiment(ResponseBody):
    """A named collection of runs."""

    model_config = ConfigDict(json_schema_extra=example(_EXPERIMENT))

    id: str
    name: str
    description: str
    artifact_location: str
    lifecycle_stage: LifecycleStage
    created_at: Time
    last_updated: Time
    tags: dict[str, str]

    @classmethod
    def of(cls, experiment: experiments.Experiment) -> "Experiment":
        """The schema of an experiment."""
        return cls(
            id=str(experiment.experiment_id),
            name=experiment.name,
            description=experiment.tags.get(DESCRIPTION_TAG, ""),
            artifact_location=experiment.artifact_uri,
            lifecycle_stage="active" if experiment.deleted_time is None else "deleted",
            created_at=iso_time(experiment.creation_time),
            last_updated=iso_time(experiment.last_update_time),
            tags=without_mlflow_tags(experiment.tags),
        )


class ExperimentPage(ResponseBody):
    """A page of the experiments that match, and their total number."""

    model_config = ConfigDict(
        json_schema_extra=example(
            {"experiments": [_EXPERIMENT], "total": 1, "limit": 100, "offset": 0}
        )
    )

    experiments: list[Experiment]
    total: int
    limit: int
    offset: int


class Run(ResponseBody):
    """One execution of training code."""

    model_config = ConfigDict(json_schema_extra=example(_RUN))

    id: str
    experiment_id: str
    name: str
    description: str
    status: RunStatus
    lifecycle_stage: LifecycleStage
    user_id: str | None
    parent_run_id: str | None
    start_time: Time
    end_time: Time | None
    duration_seconds: float | None
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, ShownNumber] = Field(description="The latest value of each metric.")
    artifacts: list[str] = Field(description="The paths of the first hundred files.")

    @classmethod
    def of(cls, run: runs.Run, artifacts: Sequence[str]) -> "Run":
        """The schema of a run; `artifacts` are the paths of its files."""
        ended = run.end_time
        return cls(
            id=run.run_id.hex,
            experiment_id=str(run.experiment_id),
            name=run.name,
            description=run.tags.get(DESCRIPTION_TAG, ""),
            status=run_status(run),
            lifecycle_stage="active" if run.deleted_time is None else "deleted",
            user_id=run.user_id or run.tags.get(USER_TAG),
            parent_run_id=run.tags.get(PARENT_RUN_TAG),
            start_time=iso_time(run.start_time),
            end_time=None if ended is None else iso_time(ended),
            duration_seconds=None if ended is None else (ended - run.start_time) / 1000,
            tags=without_mlflow_tags(run.tags),
            params=run.params,
            metrics={metric.key: metric.value for metric in run.metrics},
            artifacts=list(artifacts),
        )


class RunPage(ResponseBody):
    """A page of the runs that match, and their total number."""

    model_config = ConfigDict(
        json_schema_extra=example({"runs": [_RUN], "total": 1, "limit": 100, "offset": 0})
    )

    runs: list[Run]
    total: int
    limit: int
    offset: int


class CreateExperiment(RequestBody):
    """A new experiment."""

    model_config = ConfigDict(
        json_schema_extra=example(
            {
                "name": "churn-prediction-v2",
                "description": "Customer churn prediction",
                "tags": {"team": "data-science"},
            }
        )
    )

    name: ExperimentName
    description: ExperimentDescription = ""
    artifact_location: str | None = Field(
        default=None,
        description="The cloud URI of the artifacts, which clients access with credentials of their"
        " own. By default, this server stores the artifacts.",
    )
    tags: NewTags = Field(default={})


class UpdateExperiment(RequestBody):
    """The fields to change; others keep their values."""

    model_config = ConfigDict(
        json_schema_extra=example({"description": "With Q4 data", "tags": {"team": None}})
    )

    # Validation refuses null and "", so that "" means that no name is given.
    name: ExperimentName = ""
    description: ExperimentDescription | None = Field(
        default=None, description='Null or "" removes it.'
    )
    tags: ChangedTags = Field(default={})


class CreateRun(RequestBody):
    """A new run, which starts now."""

    model_config = ConfigDict(
        json_schema_extra=example(
            {
                "experiment_id": EXPERIMENT_EXAMPLE,
                "name": "xgboost-baseline",
                "tags": {"model_type": "xgboost"},
                "params": {"learning_rate": 0.1},
            }
        )
    )

    experiment_id: str
    name: Annotated[str, Field(max_length=MAX_RUN_NAME_LENGTH)] = Field(
        default="", description="By default, a random name."
    )
    description: RunDescription = ""
    tags: NewTags = Field(default={})
    params: dict[str, ParamValue] = Field(default={})
    parent_run_id: str | None = Field(default=None, description="The run that this one is part of.")


class UpdateRun(RequestBody):
    """The fields to change; others keep their values."""

    model_config = ConfigDict(
        json_schema_extra=example({"name": "xgboost-tuned", "tags": {"reviewed": "yes"}})
    )

    # "" means that no name is given, as in UpdateExperiment.
    name: RunName = ""
    description: RunDescription | None = Field(default=None, description='Null or "" removes it.')
    tags: ChangedTags = Field(default={})


class EndRun(RequestBody):
    """The final status of a run, and its end time."""

    model_config = ConfigDict(json_schema_extra=example({"status": "finished"}))

    status: Literal["finished", "failed", "killed"] = "finished"
    end_time: EpochMs | None = Field(
        default=None,
        description="Epoch milliseconds. By default now, or the present end time of a run that has"
        " ended.",
    )


def with_description(
    tags: Mapping[str, str | None], body: UpdateExperiment | UpdateRun
) -> dict[str, str | None]:
    """The tags to change, with the description among them if it is given."""
    changed = dict(tags)
    if "description" in body.model_fields_set:
        changed[DESCRIPTION_TAG] = body.description or None
    return changed
