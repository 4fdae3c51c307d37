"""The run or the logged model that a path belongs to."""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from app.kernel.errors import (
    InvalidStateError,
    InvalidValueError,
    LoggedModelNotFoundError,
    NotFoundError,
    RunNotActiveError,
    RunNotFoundError,
)
from app.kernel.ids import parse_experiment_id, parse_run_id

OwnerKind = Literal["run", "logged_model"]


@dataclass(frozen=True, slots=True)
class Owner:
    """The run (`id` is a UUID) or logged model (`id` is a string) that a path belongs to.

    `folders` are the folders that lead to the path, the owner's own artifact folder first.
    """

    experiment_id: int
    id: UUID | str
    folders: list[str]

    @property
    def kind(self) -> OwnerKind:
        return "run" if isinstance(self.id, UUID) else "logged_model"

    @property
    def parents(self) -> list[str]:
        """The folders below the owner's own: each of them could be a file instead."""
        return self.folders[1:]

    def not_found_error(self) -> NotFoundError:
        """The error for an owner that does not exist."""
        if isinstance(self.id, UUID):
            return RunNotFoundError(self.id.hex)
        return LoggedModelNotFoundError(self.id, field="path")

    def not_active_error(self, deleted_time: int) -> InvalidStateError | NotFoundError:
        """The error for an owner that was deleted at `deleted_time`, in epoch milliseconds."""
        if isinstance(self.id, UUID):
            return RunNotActiveError(self.id.hex, deleted_time)
        return self.not_found_error()


def owner_of(path: str) -> Owner:
    """The owner of a file, by the segments of its path.

    Raises InvalidValueError for a path that is not below the folder of a run or a logged model.
    """
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
    """Raises InvalidValueError for a path that is not the folder of a run or a logged model, or
    below it."""
    owner_of(f"{path}/")
