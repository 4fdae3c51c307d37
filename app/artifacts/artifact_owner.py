"""Whose file a path is: a run's or a logged model's."""

from dataclasses import dataclass
from uuid import UUID

from app.artifacts import sql
from app.kernel.errors import (
    InvalidStateError,
    InvalidValueError,
    LoggedModelNotFoundError,
    NotFoundError,
    RunNotActiveError,
    RunNotFoundError,
)
from app.kernel.ids import parse_experiment_id, parse_run_id


@dataclass(frozen=True, slots=True)
class Owner:
    """The run or the logged model that a path belongs to, by its segments.

    `folders` are those that lead to the path, from the owner's own on.
    """

    experiment_id: int
    key: UUID | str
    folders: list[str]

    @property
    def check(self) -> str:
        return sql.CHECK_RUN if isinstance(self.key, UUID) else sql.CHECK_MODEL

    @property
    def record(self) -> str:
        return sql.RECORD_OF_RUNS if isinstance(self.key, UUID) else sql.RECORD_OF_MODELS

    @property
    def record_reserved(self) -> str:
        """`record` where some of the files have reservations."""
        if isinstance(self.key, UUID):
            return sql.RECORD_RESERVED_OF_RUNS
        return sql.RECORD_RESERVED_OF_MODELS

    @property
    def parents(self) -> list[str]:
        """The folders that could be files: all but the owner's own."""
        return self.folders[1:]

    @property
    def parameters(self) -> dict[str, object]:
        return {
            "owner": self.key,
            "experiment": self.experiment_id,
            "parents": self.parents,
        }

    @property
    def absent(self) -> NotFoundError:
        if isinstance(self.key, UUID):
            return RunNotFoundError(self.key.hex)
        return LoggedModelNotFoundError(str(self.key), field="path")

    def not_active(self, deleted_time: int) -> InvalidStateError | NotFoundError:
        if isinstance(self.key, UUID):
            return RunNotActiveError(self.key.hex, deleted_time)
        return self.absent


def owner_of(path: str) -> Owner:
    """Raises InvalidValueError for a path that is no run's and no model's file."""
    segments = path.split("/")
    if len(segments) > 5 and segments[0] == "experiments" and segments[4] == "artifacts":
        _, experiment, kind, name, *_ = segments
        experiment_id = parse_experiment_id(experiment)
        run_id = parse_run_id(name)
        folders = ["/".join(segments[:depth]) for depth in range(5, len(segments))]
        if experiment_id is not None and kind == "runs" and run_id is not None:
            return Owner(experiment_id, run_id, folders)
        if experiment_id is not None and kind == "models":
            return Owner(experiment_id, name, folders)
    raise InvalidValueError(
        f"Invalid path: '{path}' is not below the artifact URI of a run or a logged model",
        field="path",
    )


def check_owned(path: str) -> None:
    """Raises InvalidValueError for a path that is outside the folders of runs and models."""
    owner_of(f"{path}/")
