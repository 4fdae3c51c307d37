"""Logged models, which MLflow has since 3.0."""

import tempfile
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput

WEIGHTS = b"\x00\xff"


def logged_models(client: MlflowClient, experiment_id: str) -> None:
    """A model of a run: made, given its files, finished, read by its id."""
    with mlflow.start_run() as run:
        run_id = run.info.run_id
        model = client.create_logged_model(
            experiment_id,
            name="classifier",
            source_run_id=run_id,
            tags={"team": "data-science"},
            params={"depth": "6"},
            model_type="tree",
        )
        assert str(model.status) == "PENDING", model.status
        finish(client, model.model_id)
        client.set_logged_model_tags(model.model_id, {"stage": "test"})
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        mlflow.log_metric("accuracy", 0.9, model_id=model.model_id)

    found = client.get_logged_model(model.model_id)
    assert (found.name, str(found.status), found.model_type) == ("classifier", "READY", "tree")
    assert (found.source_run_id, found.params) == (run_id, {"depth": "6"})
    assert (found.tags["team"], found.tags["stage"]) == ("data-science", "test")
    assert [(point.key, point.value) for point in found.metrics] == [("accuracy", 0.9)]
    (output,) = client.get_run(run_id).outputs.model_outputs
    assert output.model_id == model.model_id
    files = [item.path for item in client.list_logged_model_artifacts(model.model_id)]
    assert files == ["MLmodel", "weights.bin"]
    local = Path(mlflow.artifacts.download_artifacts(f"models:/{model.model_id}"))
    assert (local / "weights.bin").read_bytes() == WEIGHTS


def search(client: MlflowClient, experiment_id: str) -> None:
    """By their params and metrics, in the order of a metric."""
    for depth in range(3):
        model = client.create_logged_model(
            experiment_id, name=f"tree-{depth}", params={"depth": str(depth)}
        )
        with mlflow.start_run():
            mlflow.log_metric("accuracy", depth / 10, model_id=model.model_id)
    found = mlflow.search_logged_models(
        experiment_ids=[experiment_id],
        filter_string="metrics.accuracy > 0.05",
        order_by=[{"field_name": "metrics.accuracy", "ascending": False}],
        output_format="list",
    )
    assert [model.name for model in found] == ["tree-2", "tree-1"]
    (found,) = client.search_logged_models([experiment_id], filter_string="params.depth = '0'")
    assert found.name == "tree-0"
    client.delete_logged_model(found.model_id)
    assert len(client.search_logged_models([experiment_id])) == 2


def registration(client: MlflowClient, experiment_id: str) -> None:
    """A logged model becomes a version in the registry, with its files."""
    model = client.create_logged_model(experiment_id, name="classifier")
    finish(client, model.model_id)
    version = mlflow.register_model(f"models:/{model.model_id}", "from-logged-model")
    assert (version.name, str(version.version)) == ("from-logged-model", "1")
    found = client.get_model_version("from-logged-model", "1")
    assert (found.status, found.source) == ("READY", f"models:/{model.model_id}")
    local = Path(mlflow.artifacts.download_artifacts("models:/from-logged-model/1"))
    assert (local / "weights.bin").read_bytes() == WEIGHTS


def finish(client: MlflowClient, model_id: str) -> None:
    """Give the model the files that one would have, and say that they are all."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "MLmodel").write_text("flavors: {}\n")
        Path(folder, "weights.bin").write_bytes(WEIGHTS)
        client.log_model_artifacts(model_id, folder)
    client.finalize_logged_model(model_id, "READY")
