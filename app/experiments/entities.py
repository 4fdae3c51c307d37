"""An experiment."""

from dataclasses import dataclass, field

from app.kernel.artifact_uris import artifact_root


@dataclass(slots=True)
class Experiment:
    """An experiment with its tags; times are in epoch milliseconds.

    `artifact_location` is the URI that its creator gave, or None where this server stores the
    artifacts.
    """

    experiment_id: int
    name: str
    artifact_location: str | None
    creation_time: int
    last_update_time: int
    deleted_time: int | None
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def artifact_uri(self) -> str:
        return artifact_root(self.experiment_id, self.artifact_location)
