"""URIs and folders of artifacts: where the files of experiments, runs and logged models are."""

from dataclasses import dataclass
from uuid import UUID

from app.kernel.errors import ConflictError

ARTIFACT_SCHEME = "mlflow-artifacts:/"
"""The scheme of artifacts that this server stores; others are locations of the user's own."""


@dataclass(frozen=True, slots=True)
class RunLocation:
    """Where a run's artifacts are. `deleted_time` is in epoch milliseconds, None where active."""

    run_id: UUID
    artifact_uri: str
    deleted_time: int | None = None

    @property
    def folder(self) -> str:
        """The folder of the artifacts, relative to the tenant's root.

        Raises ConflictError where they are at a location of the user's own.
        """
        return _served_folder(self.artifact_uri, f"run {self.run_id.hex}", "run_id")


@dataclass(frozen=True, slots=True)
class ModelLocation:
    """Where a logged model's artifacts are."""

    model_id: str
    artifact_uri: str

    @property
    def folder(self) -> str:
        """The folder of the artifacts, relative to the tenant's root.

        Raises ConflictError where they are at a location of the user's own.
        """
        return _served_folder(self.artifact_uri, f"logged model {self.model_id}", "model_id")


def served_folder(artifact_uri: str) -> str | None:
    """The folder that the URI names, relative to the tenant's root; None for a location of the
    user's own."""
    if artifact_uri.startswith(ARTIFACT_SCHEME):
        return artifact_uri.removeprefix(ARTIFACT_SCHEME)
    return None


def run_folder(experiment_id: int, run_id: str) -> str:
    """The folder of a run's artifacts on this server, relative to the tenant's root."""
    return f"experiments/{experiment_id}/runs/{run_id}/artifacts"


def model_folder(experiment_id: int, model_id: str) -> str:
    """The folder of a logged model's artifacts on this server, relative to the tenant's root."""
    return f"experiments/{experiment_id}/models/{model_id}/artifacts"


def artifact_root(experiment_id: int, artifact_location: str | None) -> str:
    """The URI below which an experiment's artifacts are."""
    return artifact_location or f"{ARTIFACT_SCHEME}experiments/{experiment_id}"


def run_artifact_uri(experiment_id: int, artifact_location: str | None, run_id: str) -> str:
    """The URI of a run's artifacts: `…/experiments/{id}/runs/{run}/artifacts` in this server's
    store; in a user's own location MLflow's layout, without `runs`."""
    if artifact_location:
        return f"{artifact_location.rstrip('/')}/{run_id}/artifacts"
    return ARTIFACT_SCHEME + run_folder(experiment_id, run_id)


def model_artifact_uri(experiment_id: int, artifact_location: str | None, model_id: str) -> str:
    """The URI of a logged model's artifacts."""
    if artifact_location:
        return f"{artifact_location.rstrip('/')}/models/{model_id}/artifacts"
    return ARTIFACT_SCHEME + model_folder(experiment_id, model_id)


def _served_folder(artifact_uri: str, owner: str, field: str) -> str:
    folder = served_folder(artifact_uri)
    if folder is None:
        raise ConflictError(
            f"The artifacts of {owner} lie at {artifact_uri}, which only clients with credentials"
            " of their own can reach",
            field=field,
        )
    return folder
