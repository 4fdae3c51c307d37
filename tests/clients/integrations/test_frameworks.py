"""What autologging and evaluations send arrives: compared with what the library itself says."""

import base64
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.clients.conftest import client_interpreter

Train = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.timeout(400)

PNG = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def python() -> Path:
    return client_interpreter("integrations", beside_ours=True)


def history(client: MlflowClient, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run_id, key)]


def content(client: MlflowClient, run_id: str, path: str) -> bytes:
    return Path(client.download_artifacts(run_id, path)).read_bytes()


def content_of_model(client: MlflowClient, model_id: str, path: str) -> bytes:
    location = client.get_logged_model(model_id).artifact_location
    files = location.replace("mlflow-artifacts:", "/api/2.0/mlflow-artifacts/artifacts")
    return httpx.get(f"{client.tracking_uri}{files}/{path}").raise_for_status().content


def dataset_contexts(run: Run) -> list[str]:
    return sorted(tag.value for one in run.inputs.dataset_inputs for tag in one.tags)


def test_xgboost(train: Train, python: Path, client: MlflowClient) -> None:
    came_to = train(python, "xgboost_training.py")
    run_id = came_to["run_id"]
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["objective"] == "binary:logistic"
    assert (run.data.params["max_depth"], run.data.params["eta"]) == ("3", "0.5")
    assert run.data.params["early_stopping_rounds"] == "3"

    best = came_to["best_iteration"]
    losses = list(enumerate(came_to["loss"]))
    # The best iteration is logged once more, after the last one.
    again = (len(losses), came_to["loss"][best])
    assert history(client, run_id, "validation-logloss") == [*losses, again]
    assert run.data.metrics["best_iteration"] == best
    assert run.data.metrics["stopped_iteration"] == len(losses) - 1
    assert dataset_contexts(run) == ["eval", "train"]

    weights = json.loads(content(client, run_id, "feature_importance_weight.json"))
    assert weights == came_to["weights"]
    assert content(client, run_id, "feature_importance_weight.png").startswith(PNG)

    version = client.get_model_version("boosted trees", "1")
    (output,) = run.outputs.model_outputs
    assert (version.run_id, version.status) == (run_id, "READY")
    assert version.source == f"models:/{output.model_id}"
    model = client.get_logged_model(output.model_id)
    assert (model.name, str(model.status), model.source_run_id) == ("model", "READY", run_id)
    assert {metric.key for metric in model.metrics} >= {"validation-logloss"}
    saved = content_of_model(client, output.model_id, "model.ubj")
    assert saved == base64.b64decode(came_to["model"])


def test_lightgbm(train: Train, python: Path, client: MlflowClient) -> None:
    came_to = train(python, "lightgbm_training.py")
    run_id = came_to["run_id"]
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert (run.data.params["objective"], run.data.params["num_boost_round"]) == ("binary", "30")
    for name, values in came_to["history"].items():
        assert history(client, run_id, f"validation-{name}") == list(enumerate(values))
    assert dataset_contexts(run) == ["eval", "train"]

    splits = json.loads(content(client, run_id, "feature_importance_split.json"))
    assert splits == came_to["splits"]
    for kind in ("split", "gain"):
        assert content(client, run_id, f"feature_importance_{kind}.png").startswith(PNG)

    (output,) = run.outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert (model.name, str(model.status)) == ("model", "READY")
    saved = content_of_model(client, output.model_id, "model.lgb").decode()
    assert saved == came_to["model"]


def test_optuna(train: Train, python: Path, client: MlflowClient) -> None:
    came_to = train(python, "optuna_study.py")
    nested = came_to["nested"]
    parent = client.get_run(nested["run_id"])
    children = client.search_runs(
        [parent.info.experiment_id],
        f"tags.mlflow.parentRunId = '{parent.info.run_id}'",
        order_by=["attributes.start_time ASC"],
    )
    assert [run.info.run_id for run in children] == [one["run_id"] for one in nested["trials"]]
    for number, (run, trial) in enumerate(zip(children, nested["trials"], strict=True)):
        assert run.info.run_name == f"trial-{number}"
        # A pruned trial ends its run by an exception.
        assert run.info.status == ("FAILED" if number % 4 == 3 else "FINISHED")
        assert run.data.params == {key: str(value) for key, value in trial["params"].items()}
        assert history(client, run.info.run_id, "value") == list(enumerate(trial["values"]))
    best = min(
        children, key=lambda run: run.data.metrics["value"] + (run.info.status == "FAILED") * 1e9
    )
    assert parent.data.metrics == {"best": best.data.metrics["value"]}
    assert parent.data.params == {f"best_{key}": value for key, value in best.data.params.items()}

    stored = came_to["stored"]
    (study,) = client.search_runs([parent.info.experiment_id], "tags.mlflow.runName = 'stored'")
    trials = client.search_runs(
        [parent.info.experiment_id],
        f"tags.mlflow.parentRunId = '{study.info.run_id}'",
        order_by=["attributes.start_time ASC"],
    )
    assert len(trials) == len(stored["trials"])
    assert min(trial["value"] for trial in stored["trials"]) == stored["best_value"]
    assert [run.info.status for run in trials] == ["FINISHED"] * len(trials)


def test_sklearn(train: Train, python: Path, client: MlflowClient) -> None:
    came_to = train(python, "sklearn_training.py")
    run_id = came_to["run_id"]
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    for key, value in came_to["best_params"].items():
        assert run.data.params[f"best_{key}"] == str(value)
    assert run.data.metrics["best_cv_score"] == came_to["best_score"]
    for name in ("cpu_utilization_percentage", "system_memory_usage_megabytes"):
        points = history(client, run_id, f"system/{name}")
        assert [step for step, _ in points] == list(range(len(points)))
        assert all(math.isfinite(value) for _, value in points)

    table = pd.read_csv(client.download_artifacts(run_id, "cv_results.csv"))
    assert table["mean_test_score"].tolist() == came_to["scores"]
    assert content(client, run_id, "training_confusion_matrix.png").startswith(PNG)
    children = client.search_runs([run.info.experiment_id], f"tags.mlflow.parentRunId = '{run_id}'")
    # The best five of the candidates have runs of their own.
    scores = sorted(child.data.metrics["mean_test_score"] for child in children)
    assert scores == sorted(came_to["scores"])[-5:]
    assert len(run.outputs.model_outputs) == 2


def test_evaluations(train: Train, python: Path, client: MlflowClient) -> None:
    came_to = train(python, "evaluation.py")
    classifier = came_to["classifier"]
    run = client.get_run(classifier["run_id"])
    assert run.data.metrics["accuracy_score"] == classifier["score"]
    assert run.data.metrics == classifier["metrics"]
    files = [item.path for item in client.list_artifacts(run.info.run_id)]
    assert sorted(files) == sorted(f"{name}.png" for name in classifier["artifacts"])
    for path in files:
        assert content(client, run.info.run_id, path).startswith(PNG)
    assert [one.model_id for one in run.inputs.model_inputs] == [classifier["model_id"]]
    model = client.get_logged_model(classifier["model_id"])
    measured = {metric.key: metric.value for metric in model.metrics}
    assert measured["accuracy_score"] == classifier["score"]

    answers = came_to["answers"]
    run = client.get_run(answers["run_id"])
    assert run.data.metrics == answers["metrics"] == {"length_difference/mean": 5 / 3}
    table = json.loads(content(client, run.info.run_id, "eval_results_table.json"))
    assert table["columns"] == answers["table"]["columns"]
    assert table["data"] == answers["table"]["data"]
