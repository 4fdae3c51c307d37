"""The URIs of artifacts: where the files of experiments, runs and logged models lie."""

ARTIFACT_SCHEME = "mlflow-artifacts:/"
"""The scheme of artifacts that this server keeps; all others are locations of the user's."""


def artifact_root(experiment_id: int, artifact_location: str | None) -> str:
    """The URI that an experiment's artifacts lie under."""
    return artifact_location or f"{ARTIFACT_SCHEME}experiments/{experiment_id}"


def run_artifact_uri(experiment_id: int, artifact_location: str | None, run_id: str) -> str:
    """Through this server `…/experiments/{id}/runs/{run}/artifacts`; elsewhere as MLflow lays it
    out, without the `runs` folder."""
    if artifact_location:
        return f"{artifact_location.rstrip('/')}/{run_id}/artifacts"
    return f"{ARTIFACT_SCHEME}experiments/{experiment_id}/runs/{run_id}/artifacts"


def model_artifact_uri(experiment_id: int, artifact_location: str | None, model_id: str) -> str:
    """Where a logged model's files lie."""
    root = artifact_root(experiment_id, artifact_location).rstrip("/")
    return f"{root}/models/{model_id}/artifacts"
