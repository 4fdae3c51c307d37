"""The model registry: models, versions, stages, aliases and prompts."""

import tempfile
import warnings
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from refusals import refusal


def registered_models(client: MlflowClient, experiment_id: str) -> None:
    """Made, described, tagged, found, renamed, deleted."""
    client.create_registered_model("churn", tags={"team": "a"}, description="first")
    client.update_registered_model("churn", "second")
    client.set_registered_model_tag("churn", "stage", "test")
    client.delete_registered_model_tag("churn", "team")
    client.rename_registered_model("churn", "churn 2")
    found = client.get_registered_model("churn 2")
    assert (found.description, found.tags) == ("second", {"stage": "test"})
    (found,) = client.search_registered_models("name LIKE 'churn%'")
    assert found.name == "churn 2"
    client.delete_registered_model("churn 2")
    assert list(client.search_registered_models("name LIKE 'churn%'")) == []
    refused = refusal(client.get_registered_model, "churn 2")
    assert refused.error_code == "RESOURCE_DOES_NOT_EXIST", refused


def model_versions(client: MlflowClient, experiment_id: str) -> None:
    """Numbered from 1, described, tagged, found, deleted."""
    run_id = run_with_a_model()
    client.create_registered_model("versions")
    for number in (1, 2):
        source = f"runs:/{run_id}/model"
        version = client.create_model_version("versions", source, run_id, tags={"n": str(number)})
        assert (str(version.version), version.run_id) == (str(number), run_id)
    client.update_model_version("versions", "2", "the second")
    client.set_model_version_tag("versions", "2", "k", "v")
    client.delete_model_version_tag("versions", "2", "n")
    found = client.get_model_version("versions", "2")
    assert (found.description, found.tags, found.status) == ("the second", {"k": "v"}, "READY")
    versions = client.search_model_versions("name = 'versions'")
    assert sorted(str(version.version) for version in versions) == ["1", "2"]
    client.delete_model_version("versions", "1")
    (left,) = client.search_model_versions("name = 'versions'")
    assert str(left.version) == "2"


def stages(client: MlflowClient, experiment_id: str) -> None:
    """Deprecated since MLflow 2.9, and still in every client."""
    run_id = run_with_a_model()
    client.create_registered_model("staged")
    for _ in range(3):
        client.create_model_version("staged", f"runs:/{run_id}/model", run_id)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        client.transition_model_version_stage("staged", "1", "Production")
        client.transition_model_version_stage("staged", "2", "Staging")
        moved = client.transition_model_version_stage(
            "staged", "3", "Production", archive_existing_versions=True
        )
        latest = client.get_latest_versions("staged")
        (staging,) = client.get_latest_versions("staged", stages=["Staging"])
    assert moved.current_stage == "Production"
    assert {one.current_stage: str(one.version) for one in latest} == {
        "Archived": "1",
        "Staging": "2",
        "Production": "3",
    }
    assert str(staging.version) == "2"


def aliases(client: MlflowClient, experiment_id: str) -> None:
    """A name that moves from version to version, and reads as one in a URI."""
    run_id = run_with_a_model()
    client.create_registered_model("aliased")
    for _ in range(2):
        client.create_model_version("aliased", f"runs:/{run_id}/model", run_id)
    client.set_registered_model_alias("aliased", "champion", "1")
    client.set_registered_model_alias("aliased", "champion", "2")
    assert str(client.get_model_version_by_alias("aliased", "champion").version) == "2"
    assert client.get_model_version("aliased", "2").aliases == ["champion"]
    aliases_of_model = client.get_registered_model("aliased").aliases
    assert {key: str(value) for key, value in aliases_of_model.items()} == {"champion": "2"}
    local = Path(mlflow.artifacts.download_artifacts("models:/aliased@champion"))
    assert (local / "weights.bin").read_bytes() == b"\x00\xff"
    client.delete_registered_model_alias("aliased", "champion")
    assert client.get_registered_model("aliased").aliases == {}


def models_of_runs(client: MlflowClient, experiment_id: str) -> None:
    """`register_model` makes the registered model too; its files are the run's."""
    run_id = run_with_a_model()
    version = mlflow.register_model(f"runs:/{run_id}/model", "of-a-run", tags={"k": "v"})
    assert (str(version.version), version.run_id) == ("1", run_id)
    assert str(mlflow.register_model(f"runs:/{run_id}/model", "of-a-run").version) == "2"
    uri = client.get_model_version_download_uri("of-a-run", "1")
    assert uri.startswith("mlflow-artifacts:/"), uri
    local = Path(mlflow.artifacts.download_artifacts("models:/of-a-run/1"))
    assert (local / "weights.bin").read_bytes() == b"\x00\xff"


def prompts(client: MlflowClient, experiment_id: str) -> None:
    """Templates, which MLflow keeps as registered models with tags of its own."""
    # They moved to mlflow.genai in 3.0.
    api = getattr(mlflow, "genai", mlflow)
    api.register_prompt(name="greeting", template="Hello {{name}}")
    second = api.register_prompt(name="greeting", template="Hi {{name}}", commit_message="shorter")
    assert int(second.version) == 2
    assert api.load_prompt("prompts:/greeting/1").template == "Hello {{name}}"
    api.set_prompt_alias("greeting", alias="best", version=2)
    assert api.load_prompt("prompts:/greeting@best").format(name="Ann") == "Hi Ann"
    # A prompt is no model to those who list models.
    assert "greeting" not in [model.name for model in client.search_registered_models()]


def run_with_a_model() -> str:
    """The id of a run with a folder `model`, of the files that a model would have."""
    with mlflow.start_run() as run, tempfile.TemporaryDirectory() as folder:
        Path(folder, "MLmodel").write_text("flavors: {}\n")
        Path(folder, "weights.bin").write_bytes(b"\x00\xff")
        mlflow.log_artifacts(folder, artifact_path="model")
    return run.info.run_id
