"""A run as both APIs see it, and what is written to one."""

from dataclasses import dataclass, field
from uuid import UUID

import msgspec

from app.kernel.lifecycle import stage

RUN_NAME_TAG = "mlflow.runName"
PARENT_RUN_TAG = "mlflow.parentRunId"
DESCRIPTION_TAG = "mlflow.note.content"
LOGGED_MODELS_TAG = "mlflow.log-model.history"

ENDED = ("FINISHED", "FAILED", "KILLED")
STATUSES = ("RUNNING", "SCHEDULED", *ENDED)


RunKey = tuple[str, str]
"""A run's id, and the key of a metric, a param or a tag."""


class Point(msgspec.Struct, gc=False):
    """One value of a metric. The API's decoder makes these, so a point is never converted.

    It holds nothing that could lead back to it, so the garbage collector need not look.

    `timestamp` is in epoch milliseconds. A point may have been measured on a logged model, and
    on a dataset, too.
    """

    key: str
    value: float
    timestamp: int
    step: int = 0
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None


@dataclass(slots=True)
class RunWrite:
    """What one request writes to one run, wholly or not at all.

    `single` where the request has room for one item: errors then name its field without an index.
    """

    run_id: str
    points: list[Point] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    single: bool = False

    @property
    def items(self) -> int:
        """What it counts for in a queue."""
        return 1 + len(self.points) + len(self.params) + len(self.tags)


class LatestMetric(msgspec.Struct):
    key: str
    value: float
    timestamp: int
    step: int


class DatasetInput(msgspec.Struct):
    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None
    profile: str | None
    tags: dict[str, str]


class ModelLink(msgspec.Struct):
    """A logged model that a run took in, or put out at a training step."""

    model_id: str
    step: int = 0


class Run(msgspec.Struct):
    """`tags` holds the derived ones too: the run's name and, where shown, its tenant.

    Whatever changes any of this raises `version`.
    """

    run_id: UUID
    experiment_id: int
    name: str
    user_id: str
    status: str
    start_time: int
    end_time: int | None
    deleted_time: int | None
    version: int
    artifact_uri: str = ""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: list[LatestMetric] = []
    dataset_inputs: list[DatasetInput] = []
    model_inputs: list[ModelLink] = []
    model_outputs: list[ModelLink] = []

    @property
    def lifecycle_stage(self) -> str:
        return stage(self.deleted_time)
