"""A tour of the MLflow client on this server, which checks everything that it reads back.

    MLFLOW_TRACKING_URI=http://127.0.0.1:8000/t/acme-corp python examples/mlflow_tour.py

It uses only the public mlflow API (3.x); scikit-learn, pandas, matplotlib and Pillow create the
data to log. Each function shows one topic. The script ends with an AssertionError if the server
returns anything other than what was logged.
"""

import math
import os
import tempfile
import uuid
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from PIL import Image
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression


def run_without_an_experiment(client: MlflowClient) -> None:
    """A script that sets no experiment logs into experiment 0, `Default`."""
    with mlflow.start_run() as run:
        mlflow.log_metric("accuracy", 0.5)
    assert run.info.experiment_id == "0", run.info.experiment_id
    assert client.get_experiment("0").name == "Default"
    assert client.get_run(run.info.run_id).info.status == "FINISHED"


def nested_runs(client: MlflowClient) -> str:
    """A parent run with three children, each with params, tags and 50 steps of metrics."""
    with mlflow.start_run(run_name="sweep", tags={"team": "data-science"}) as parent:
        mlflow.log_params({"folds": 3, "model": "xgboost"})
        for child in range(3):
            with mlflow.start_run(run_name=f"fold-{child}", nested=True):
                mlflow.log_param("fold", child)
                mlflow.set_tag("stage", "train")
                for step in range(50):
                    mlflow.log_metrics(
                        {"loss": 1 / (step + 1) + child, "accuracy": step / 50}, step=step
                    )
    children = client.search_runs(
        [parent.info.experiment_id],
        filter_string=f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'",
        order_by=["params.fold ASC"],
    )
    assert [run.data.params["fold"] for run in children] == ["0", "1", "2"]
    assert [run.info.run_name for run in children] == ["fold-0", "fold-1", "fold-2"]
    history = client.get_metric_history(children[1].info.run_id, "loss")
    assert [point.step for point in history] == list(range(50))
    assert [point.value for point in history] == [1 / (step + 1) + 1 for step in range(50)]
    return parent.info.run_id


def special_numbers(client: MlflowClient) -> None:
    """NaN and the infinities are read back as they were logged."""
    with mlflow.start_run(run_name="special") as run:
        mlflow.log_metric("nan", math.nan)
        mlflow.log_metric("inf", math.inf)
        mlflow.log_metric("minus_inf", -math.inf)
    metrics = client.get_run(run.info.run_id).data.metrics
    assert math.isnan(metrics["nan"])
    assert metrics["inf"] == math.inf
    assert metrics["minus_inf"] == -math.inf
    assert math.isnan(client.get_metric_history(run.info.run_id, "nan")[0].value)


def search_as_a_data_frame() -> None:
    """Filters and orders the runs of `nested_runs` by a metric, as a data frame."""
    frame = mlflow.search_runs(
        filter_string="metrics.loss < 2.5 and tags.stage = 'train'",
        order_by=["metrics.loss DESC"],
    )
    assert isinstance(frame, pd.DataFrame)
    assert list(frame["params.fold"]) == ["2", "1", "0"], frame
    assert frame["metrics.loss"].is_monotonic_decreasing


def artifacts(client: MlflowClient) -> None:
    """Logs a folder, a figure, an image, a table and a dict, and downloads them again."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        (source / "deep").mkdir(parents=True)
        (source / "résumé ü 数据.txt").write_text("unicode", encoding="utf-8")
        (source / "deep" / "data.bin").write_bytes(os.urandom(300_000))
        with mlflow.start_run(run_name="artifacts") as run:
            mlflow.log_artifacts(str(source), artifact_path="files")
            figure, axes = plt.subplots()
            axes.plot([1, 2, 3])
            mlflow.log_figure(figure, "plots/line.png")
            plt.close(figure)
            mlflow.log_image(Image.fromarray(np.zeros((8, 8, 3), np.uint8)), "image.png")
            mlflow.log_table(pd.DataFrame({"x": [1, 2], "y": ["a", "b"]}), "table.json")
            mlflow.log_dict({"nested": {"k": [1, 2]}}, "dict.json")
            mlflow.log_text("hello", "note.txt")
        run_id = run.info.run_id
        names = [item.path for item in client.list_artifacts(run_id)]
        assert names == ["dict.json", "files", "image.png", "note.txt", "plots", "table.json"], (
            names
        )
        local = Path(mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=folder))
        for path in source.rglob("*"):
            if path.is_file():
                copy = local / "files" / path.relative_to(source)
                assert copy.read_bytes() == path.read_bytes(), copy
        assert mlflow.artifacts.load_dict(f"runs:/{run_id}/dict.json") == {"nested": {"k": [1, 2]}}
        assert len(mlflow.load_table("table.json", run_ids=[run_id])) == 2


def autolog(client: MlflowClient) -> None:
    """scikit-learn's autologging: params, metrics, dataset inputs and a logged model."""
    x, y = load_iris(return_X_y=True, as_frame=True)
    mlflow.sklearn.autolog(log_datasets=True)
    try:
        with mlflow.start_run(run_name="autolog") as run:
            LogisticRegression(max_iter=200, C=0.5).fit(x, y)
    finally:
        mlflow.sklearn.autolog(disable=True)
    run = client.get_run(run.info.run_id)
    assert run.data.params["C"] == "0.5"
    assert run.data.metrics["training_score"] > 0.9
    assert run.inputs.dataset_inputs, "autolog recorded no dataset"
    (output,) = run.outputs.model_outputs
    model = mlflow.get_logged_model(output.model_id)
    assert str(model.status) == "READY", model.status
    loaded = mlflow.sklearn.load_model(f"models:/{output.model_id}")
    assert (loaded.predict(x) == y).mean() > 0.9
    found = mlflow.search_logged_models(
        experiment_ids=[run.info.experiment_id], output_format="list"
    )
    assert output.model_id in [model.model_id for model in found]


def asynchronous(client: MlflowClient) -> None:
    """Asynchronous logging, then a flush that waits for it."""
    with mlflow.start_run(run_name="async") as run:
        for step in range(100):
            mlflow.log_metric("loss", 1.0 / (step + 1), step=step, synchronous=False)
        mlflow.log_params({"a": 1, "b": 2}, synchronous=False)
        mlflow.set_tag("async", "yes", synchronous=False)
        mlflow.flush_async_logging()
    run = client.get_run(run.info.run_id)
    assert run.data.params == {"a": "1", "b": "2"}
    assert run.data.tags["async"] == "yes"
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 100


def tour() -> None:
    """Runs all topics in a new experiment."""
    client = MlflowClient()
    run_without_an_experiment(client)
    name = f"tour-{uuid.uuid4().hex[:8]}"
    experiment = mlflow.set_experiment(name)
    assert mlflow.get_experiment_by_name(name).experiment_id == experiment.experiment_id
    nested_runs(client)
    special_numbers(client)
    search_as_a_data_frame()
    artifacts(client)
    autolog(client)
    asynchronous(client)
    runs = client.search_runs([experiment.experiment_id])
    print(f"{len(runs)} runs in experiment {name} of {mlflow.get_tracking_uri()}: all as logged")


if __name__ == "__main__":
    tour()
