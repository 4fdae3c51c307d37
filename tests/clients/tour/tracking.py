"""Experiments, runs and what is logged to them."""

import math
import time

import mlflow
from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    RunTag,
    ViewType,
)
from refusals import refusal


def before_the_first_write(client: MlflowClient) -> None:
    """There is an experiment 0 to find, to read and to choose."""
    (found,) = client.search_experiments()
    assert (found.experiment_id, found.name) == ("0", "Default")
    assert client.get_experiment("0").name == "Default"
    assert mlflow.set_experiment(experiment_id="0").lifecycle_stage == "active"


def run_without_an_experiment(client: MlflowClient) -> None:
    """A script that sets no experiment logs into experiment 0, `Default`."""
    with mlflow.start_run() as run:
        mlflow.log_metric("accuracy", 0.5)
    assert run.info.experiment_id == "0", run.info.experiment_id
    assert client.get_experiment("0").name == "Default"
    found = client.get_run(run.info.run_id)
    assert found.info.status == "FINISHED"
    assert found.info.start_time <= found.info.end_time
    assert found.data.metrics == {"accuracy": 0.5}


def experiments(client: MlflowClient, experiment_id: str) -> None:
    """Made, renamed, tagged, deleted, restored; found by name and by search."""
    other_id = client.create_experiment("first name", tags={"team": "data-science"})
    client.rename_experiment(other_id, "second name")
    client.set_experiment_tag(other_id, "stage", "test")
    found = client.get_experiment_by_name("second name")
    assert found is not None
    assert found.experiment_id == other_id
    assert (found.tags["team"], found.tags["stage"]) == ("data-science", "test")
    assert client.get_experiment_by_name("first name") is None
    (searched,) = client.search_experiments(filter_string="tags.team = 'data-science'")
    assert searched.experiment_id == other_id

    client.delete_experiment(other_id)
    assert client.get_experiment(other_id).lifecycle_stage == "deleted"
    (deleted,) = client.search_experiments(view_type=ViewType.DELETED_ONLY)
    assert deleted.experiment_id == other_id
    client.restore_experiment(other_id)
    assert client.get_experiment(other_id).lifecycle_stage == "active"
    assert mlflow.set_experiment("second name").experiment_id == other_id


def nested_runs(client: MlflowClient, experiment_id: str) -> None:
    """A parent with three children: params, 50 steps of metrics each, tags; then a search."""
    with mlflow.start_run(run_name="parent", tags={"team": "data-science"}) as parent:
        mlflow.log_params({"folds": 3, "model": "xgboost"})
        for child in range(3):
            with mlflow.start_run(run_name=f"fold-{child}", nested=True):
                mlflow.log_param("fold", child)
                mlflow.set_tag("stage", "train")
                for step in range(50):
                    mlflow.log_metrics({"loss": 1 / (step + 1) + child}, step=step)
    children = client.search_runs(
        [experiment_id],
        filter_string=f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'",
        order_by=["params.fold ASC"],
    )
    assert [run.info.run_name for run in children] == ["fold-0", "fold-1", "fold-2"]
    assert [run.data.params for run in children] == [{"fold": "0"}, {"fold": "1"}, {"fold": "2"}]
    history = client.get_metric_history(children[1].info.run_id, "loss")
    assert [point.step for point in history] == list(range(50))
    assert [point.value for point in history] == [1 / (step + 1) + 1 for step in range(50)]

    runs = mlflow.search_runs(
        filter_string="metrics.loss < 1.5 and tags.stage = 'train'",
        order_by=["metrics.loss DESC"],
        output_format="list",
    )
    assert [run.data.metrics["loss"] for run in runs] == [1.02, 0.02]
    everywhere = mlflow.search_runs(
        search_all_experiments=True, filter_string="params.folds = '3'", output_format="list"
    )
    assert [run.info.run_id for run in everywhere] == [parent.info.run_id]


def special_numbers(client: MlflowClient, experiment_id: str) -> None:
    """NaN and the infinities come back as they went."""
    with mlflow.start_run(run_name="special") as run:
        mlflow.log_metric("nan", math.nan)
        mlflow.log_metric("inf", math.inf)
        mlflow.log_metric("minus_inf", -math.inf)
    metrics = client.get_run(run.info.run_id).data.metrics
    assert math.isnan(metrics["nan"])
    assert metrics["inf"] == math.inf
    assert metrics["minus_inf"] == -math.inf
    assert math.isnan(client.get_metric_history(run.info.run_id, "nan")[0].value)


def batches(client: MlflowClient, experiment_id: str) -> None:
    """A run that the client makes, fills with one batch, changes and ends."""
    run_id = client.create_run(experiment_id, tags={"kept": "1", "dropped": "1"}).info.run_id
    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[Metric("loss", 1 / (step + 1), now + step, step) for step in range(500)],
        params=[Param(f"p{number}", str(number)) for number in range(100)],
        tags=[RunTag("stage", "train")],
    )
    client.delete_tag(run_id, "dropped")
    client.update_run(run_id, name="renamed")
    client.set_terminated(run_id, status="FAILED")
    run = client.get_run(run_id)
    assert (run.info.run_name, run.info.status) == ("renamed", "FAILED")
    assert run.data.params == {f"p{number}": str(number) for number in range(100)}
    assert run.data.metrics == {"loss": 1 / 500}
    assert (run.data.tags["stage"], run.data.tags["kept"]) == ("train", "1")
    assert "dropped" not in run.data.tags
    assert [
        (point.step, point.timestamp) for point in client.get_metric_history(run_id, "loss")
    ] == [(step, now + step) for step in range(500)]
    refused = refusal(client.log_param, run_id, "p1", "another value")
    assert "Changing param values is not allowed" in str(refused), refused


def other_scripts(client: MlflowClient, experiment_id: str) -> None:
    """A batch below the limit, whose text takes more bytes in JSON than it has."""
    run_id = client.create_run(experiment_id).info.run_id
    params = {f"p{number}": "数据" * 1000 for number in range(90)}
    tags = {f"t{number}": "🙂" * 500 for number in range(90)}
    client.log_batch(
        run_id,
        params=[Param(key, value) for key, value in params.items()],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )
    logged = client.get_run(run_id).data
    assert logged.params == params
    assert {key: logged.tags[key] for key in tags} == tags


def copies(client: MlflowClient, experiment_id: str) -> None:
    """A run and an experiment with the tags of others, as they are read."""
    with mlflow.start_run(tags={"team": "a"}) as run:
        pass
    tags = client.get_run(run.info.run_id).data.tags
    with mlflow.start_run(tags=tags) as copy:
        mlflow.set_tags(tags)
    copied_id = client.create_run(experiment_id, tags=tags).info.run_id
    client.log_batch(copied_id, tags=[RunTag(key, value) for key, value in tags.items()])
    for run_id in (copy.info.run_id, copied_id):
        assert client.get_run(run_id).data.tags == tags
    tags = client.get_experiment(experiment_id).tags
    other_id = client.create_experiment("a copy", tags=tags)
    for key, value in tags.items():
        client.set_experiment_tag(other_id, key, value)
    assert client.get_experiment(other_id).tags == tags


def deleted_runs(client: MlflowClient, experiment_id: str) -> None:
    """Out of sight while it is deleted, and the same when it is restored."""
    run_id = client.create_run(experiment_id).info.run_id
    client.log_param(run_id, "p", "1")
    client.delete_run(run_id)
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"
    assert list(client.search_runs([experiment_id])) == []
    (found,) = client.search_runs([experiment_id], run_view_type=ViewType.DELETED_ONLY)
    assert found.info.run_id == run_id
    client.restore_run(run_id)
    (found,) = client.search_runs([experiment_id])
    assert (found.info.lifecycle_stage, found.data.params) == ("active", {"p": "1"})


def asynchronous(client: MlflowClient, experiment_id: str) -> None:
    """Logging that does not wait, and then is waited for."""
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


def datasets(client: MlflowClient, experiment_id: str) -> None:
    """What a run was trained on, and the search for it."""
    run_id = client.create_run(experiment_id).info.run_id
    dataset = Dataset("iris", "abc123", "local", "{}", schema="{}", profile="{}")
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "train")])])
    (logged,) = client.get_run(run_id).inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == ("iris", "abc123")
    assert [(tag.key, tag.value) for tag in logged.tags] == [("mlflow.data.context", "train")]
    (found,) = client.search_runs([experiment_id], filter_string="dataset.digest = 'abc123'")
    assert found.info.run_id == run_id


def traced_function(client: MlflowClient, experiment_id: str) -> None:
    """Traces are not kept here: the function that one is made of does its work all the same."""

    @mlflow.trace
    def train(rate: float) -> float:
        with mlflow.start_span("step"):
            mlflow.log_metric("rate", rate)
        return rate * 2

    with mlflow.start_run() as run:
        assert train(0.5) == 1.0
    assert client.get_run(run.info.run_id).data.metrics == {"rate": 0.5}
