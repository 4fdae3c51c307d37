"""Lightning and Transformers, which need PyTorch: too large for every run of the tests."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.clients.conftest import client_interpreter
from tests.clients.integrations.test_frameworks import content, content_of_model, history

Train = Callable[..., dict[str, Any]]

pytestmark = [pytest.mark.large, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def python() -> Path:
    return client_interpreter("deep-learning", beside_ours=True)


def test_lightning(train: Train, python: Path, client: MlflowClient) -> None:
    came_to = train(python, "lightning_training.py")
    autologged = came_to["autologged"]
    run_id = autologged["run_id"]
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["epochs"] == "4"
    assert run.data.params["optimizer_name"] == "Adam"
    for name, losses in autologged["losses"].items():
        assert history(client, run_id, name) == list(enumerate(losses))
    assert b"Linear" in content(client, run_id, "model_summary.txt")

    by_its_logger = came_to["by_its_logger"]
    run_id = by_its_logger["run_id"]
    run = client.get_run(run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "its own logger")
    assert run.data.tags["team"] == "a"
    assert run.data.params == {"width": "4", "rate": "0.05"}
    for name, losses in by_its_logger["losses"].items():
        # Lightning counts in batches: an epoch has four.
        steps = [4 * epoch + 3 for epoch in range(len(losses))]
        assert history(client, run_id, name) == list(zip(steps, losses, strict=True))
    assert len(by_its_logger["checkpoints"]) == 4
    for name, digest in by_its_logger["checkpoints"].items():
        saved = content(client, run_id, f"{name}/{name}.ckpt")
        assert hashlib.sha256(saved).hexdigest() == digest
        assert b"val_loss" in content(client, run_id, f"{name}/metadata.yaml")


def test_transformers(train: Train, python: Path, client: MlflowClient) -> None:
    came_to = train(python, "transformers_training.py")
    run_id = came_to["run_id"]
    run = client.get_run(run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "tiny")
    assert run.data.tags["release.candidate"] == "RC1"
    expected = came_to["config"] | came_to["arguments"]
    assert len(expected) > 100  # more than a batch may have
    assert run.data.params == expected

    logged: dict[str, list[tuple[int, float]]] = {}
    for entry in came_to["history"]:
        for key, value in entry.items():
            if key != "step":
                logged.setdefault(key, []).append((entry["step"], value))
    assert run.data.metrics.keys() == logged.keys()
    for key, points in logged.items():
        assert history(client, run_id, key) == points

    models = {client.get_logged_model(one.model_id).name for one in run.outputs.model_outputs}
    assert models == {"checkpoint-2", "checkpoint-4", "checkpoint-6", "classifier"}
    model = client.get_logged_model(came_to["model_id"])
    assert str(model.status) == "READY"
    config = content_of_model(client, came_to["model_id"], "model/config.json")
    assert b"BertForSequenceClassification" in config
