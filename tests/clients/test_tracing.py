"""Traces are not kept here, and a client that makes them does its work all the same.

The client hears of it in a warning, once a trace. Where the user asks for what isn't kept, the
call raises what MLflow raises.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import RestException
from mlflow.genai import datasets, scorers

from tests.clients.conftest import Run

TRAINING = Path(__file__).with_name("traced_training.py")


@pytest.fixture
def client(tracking_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    mlflow.set_tracking_uri(tracking_uri)
    try:
        yield MlflowClient()
    finally:
        mlflow.set_tracking_uri(None)


@pytest.mark.parametrize("asynchronous", ["true", "false"], ids=["asynchronous", "synchronous"])
def test_training(
    asynchronous: str, client: MlflowClient, run: Run, environment: dict[str, str]
) -> None:
    environment["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"] = asynchronous
    # As it is for a user: were the answer one to try again, the training would wait for minutes.
    del environment["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]
    training = run(sys.executable, TRAINING)
    assert training.returncode == 0, training.stderr
    came_to = json.loads(training.stdout.splitlines()[-1])
    assert came_to["score"] > 0.9

    logged = client.get_run(came_to["run_id"])
    assert logged.info.status == "FINISHED"
    assert logged.data.params["C"] == "0.5"
    assert logged.data.metrics["LogisticRegression_score_x"] == came_to["score"]
    (model,) = logged.outputs.model_outputs
    assert client.get_logged_model(model.model_id).status == "READY"
    assert logged.inputs.dataset_inputs

    refused = re.findall(r"ENDPOINT_NOT_FOUND: (.+) is not served here", training.stderr)
    assert (
        len([one for one in refused if re.fullmatch("POST .+/api/[23].0/mlflow/traces", one)]) == 1
    )
    # Its spans are not sent one by one as well, which would be a request and a warning each.
    assert not [route for route in refused if route.endswith("/v1/traces")]


@pytest.mark.parametrize(
    ("call", "route"),
    [
        (lambda client: client.get_trace("tr-1"), "GET traces/tr-1"),
        (lambda client: client.set_trace_tag("tr-1", "k", "v"), "PATCH traces/tr-1/tags"),
        (
            lambda client: client.delete_traces("0", trace_ids=["tr-1"]),
            "POST traces/delete-traces",
        ),
        (
            lambda _: mlflow.log_feedback(trace_id="tr-1", name="good", value=True),
            "POST traces/tr-1/assessments",
        ),
        (
            lambda _: datasets.create_dataset(name="questions", experiment_id="0"),
            "POST datasets/create",
        ),
        (lambda client: client.list_webhooks(), "GET webhooks"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_asking_for_what_is_not_kept(
    client: MlflowClient, call: Callable[[MlflowClient], object], route: str
) -> None:
    method, path = route.split()
    asked_for = rf"{method} /t/[^/]+/api/[23].0/mlflow/{path}"
    with pytest.raises(
        RestException, match=rf"^ENDPOINT_NOT_FOUND: {asked_for} is not served here"
    ):
        call(client)


def test_searching_for_what_is_not_kept(client: MlflowClient) -> None:
    """Finds nothing, and is no error: pages and programs do it by themselves."""
    assert client.search_traces(locations=["0"]) == []
    assert mlflow.search_traces(locations=["0"], return_type="list") == []
    assert scorers.list_scorers(experiment_id="0") == []
    assert list(datasets.search_datasets(experiment_ids=["0"])) == []
