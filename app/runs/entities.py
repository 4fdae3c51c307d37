"""Runs, and writes to them."""

from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

import msgspec

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


@dataclass(slots=True)
class RunWrite:
    """What one request logs to one run, all or nothing.

    `single` is for requests that log one item, such as log-metric: errors name a field of it
    without an index. `tags` may hold the run's name, as the tag `mlflow.runName`.
    """

    run_id: str
    points: list[Point] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    single: bool = False

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


class Placed(Protocol):
    """What locates the artifacts of a run."""

    @property
    def run_id(self) -> UUID: ...

    @property
    def artifact_uri(self) -> str: ...


class Run(msgspec.Struct):
    """A run with all that belongs to it. Times are in epoch milliseconds.

    `tags` include the derived ones: the run's name, and its tenant if the service is set up to show
    it. Every change raises `version`.
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
        """`active` or `deleted`."""
        return stage(self.deleted_time)
