"""Logged models and their metrics."""

from dataclasses import dataclass, field
from typing import Literal, get_args
from uuid import UUID

from app.kernel.artifact_uris import model_artifact_uri

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
