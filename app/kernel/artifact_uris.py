"""URIs of the artifacts of experiments, runs and logged models."""

ARTIFACT_SCHEME = "mlflow-artifacts:/"
"""The scheme of artifacts that this server stores; others are locations of the user's own."""


def artifact_root(experiment_id: int, artifact_location: str | None) -> str:
    """The URI of an experiment's artifacts."""
    return artifact_location or f"{ARTIFACT_SCHEME}experiments/{experiment_id}"


def run_artifact_uri(experiment_id: int, artifact_location: str | None, run_id: str) -> str:
    """The URI of a run's artifacts: `…/experiments/{id}/runs/{run}/artifacts` in this server's
    store; in a user's own location MLflow's layout, without `runs`."""
    if artifact_location:
        return f"{artifact_location.rstrip('/')}/{run_id}/artifacts"
    return f"{ARTIFACT_SCHEME}experiments/{experiment_id}/runs/{run_id}/artifacts"


def model_artifact_uri(experiment_id: int, artifact_location: str | None, model_id: str) -> str:
    """The URI of a logged model's artifacts."""
    root = artifact_root(experiment_id, artifact_location).rstrip("/")
    return f"{root}/models/{model_id}/artifacts"
