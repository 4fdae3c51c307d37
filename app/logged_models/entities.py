"""Logged models and their metrics."""

from dataclasses import dataclass, field
from typing import Literal, get_args
from uuid import UUID

from app.kernel.artifact_uris import ARTIFACT_SCHEME, model_artifact_uri
from app.kernel.errors import ConflictError

Status = Literal["LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"]
# In the order of MLflow's enum, whose numbers start at 1.
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(slots=True)
class ModelMetric:
    """A metric point that a run logged for the model. `timestamp` is in epoch milliseconds."""

    key: str
    value: float
    timestamp: int
    step: int
    run_id: UUID
    dataset_name: str | None
    dataset_digest: str | None


@dataclass(slots=True)
class LoggedModel:
    """A logged model. Times are in epoch milliseconds.

    `artifact_location` is the experiment's: None where artifacts are kept with this server.
    `metrics` holds all points, by key and then by time.
    """

    model_id: str
    experiment_id: int
    name: str
    model_type: str
    source_run_id: str
    status: Status
    creation_time: int
    last_updated_time: int
    deleted_time: int | None
    artifact_location: str | None
    params: dict[str, str]
    tags: dict[str, str]
    metrics: list[ModelMetric] = field(default_factory=list)

    @property
    def artifact_uri(self) -> str:
        return model_artifact_uri(self.experiment_id, self.artifact_location, self.model_id)


def model_folder(model: LoggedModel) -> str:
    """The folder of a model's artifacts, relative to the tenant's root.

    Raises ConflictError where the artifacts are not kept with this server.
    """
    if not model.artifact_uri.startswith(ARTIFACT_SCHEME):
        raise ConflictError(
            f"The artifacts of logged model {model.model_id} lie at {model.artifact_uri}, which"
            " only clients with credentials of their own can reach",
            field="model_id",
        )
    return model.artifact_uri.removeprefix(ARTIFACT_SCHEME)
