"""Runs, and writes to them."""

from dataclasses import dataclass, field
from hashlib import sha256
from uuid import UUID

import msgspec

from app.kernel.field_names import IN_LISTS, OF_SINGLE_ITEM, FieldNames
from app.kernel.lifecycle import stage
from app.metrics.entities import LatestMetric, Point

RUN_NAME_TAG = "mlflow.runName"
PARENT_RUN_TAG = "mlflow.parentRunId"
DESCRIPTION_TAG = "mlflow.note.content"
LOGGED_MODELS_TAG = "mlflow.log-model.history"

ENDED_STATUSES = ("FINISHED", "FAILED", "KILLED")
STATUSES = ("RUNNING", "SCHEDULED", *ENDED_STATUSES)


RunKey = tuple[str, str]
"""A run's id, and the key of a metric, a param or a tag."""

# Of longer values, batches and errors hold only so many characters.
LONG_VALUE_LENGTH = 2_000
# A list of runs that would be too large shows so many characters of a value, and an ellipsis.
SHORTENED_LENGTH = 1_000


@dataclass(frozen=True, slots=True, eq=False)
class LongValue:
    """The beginning of a value, and the SHA-256 of the whole. It equals the text that it is of."""

    beginning: str
    digest: bytes

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return sha256(other.encode()).digest() == self.digest
        return NotImplemented

    def __str__(self) -> str:
        return f"{self.beginning}…"


@dataclass(slots=True)
class RunWrite:
    """What one request logs to one run, all or nothing.

    `field_names` are for errors. `tags` may hold the run's name, as the tag `mlflow.runName`.
    """

    run_id: str
    points: list[Point] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    field_names: FieldNames = IN_LISTS

    @property
    def is_single(self) -> bool:
        """Whether the request logs one item, such as log-metric."""
        return self.field_names is OF_SINGLE_ITEM

    @property
    def items(self) -> int:
        """How much the write counts in the coalescer's queue."""
        return 1 + len(self.points) + len(self.params) + len(self.tags)


class DatasetInput(msgspec.Struct):
    """A dataset that a run used, with the tags of this use. `name` and `digest` identify it."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None
    profile: str | None
    tags: dict[str, str]


class ModelLink(msgspec.Struct):
    """A logged model among a run's inputs, or among its outputs, there with its training step."""

    model_id: str
    step: int = 0


class Run(msgspec.Struct):
    """A run with all that belongs to it. Times are in epoch milliseconds.

    `tags` include the derived ones: the run's name, unless that tag was deleted (`has_name_tag`),
    and its tenant if the service is set up to show it. Every change raises `version`.
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
    has_name_tag: bool = True
    artifact_uri: str = ""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: list[LatestMetric] = []
    dataset_inputs: list[DatasetInput] = []
    model_inputs: list[ModelLink] = []
    model_outputs: list[ModelLink] = []

    @property
    def lifecycle_stage(self) -> str:
        """`active` or `deleted`."""
        return stage(self.deleted_time)
