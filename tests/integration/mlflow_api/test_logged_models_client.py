"""MLflow's own client, unmodified, against a live server."""

import math
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelStatus,
)
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient


@pytest.fixture
def mlflow_client(tracking_uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri)


@pytest.fixture
def run_id(mlflow_client: MlflowClient) -> str:
    return mlflow_client.create_run("0").info.run_id


class TestLoggedModels:
    def test_life(self, mlflow_client: MlflowClient, run_id: str) -> None:
        """The client sends a hundred params at once, and logs the rest in further calls."""
        params = {f"p{n:03}": str(n) for n in range(250)}
        model = mlflow_client.create_logged_model(
            "0", "model", run_id, tags={"a": "1"}, params=params, model_type="agent"
        )
        assert model.status == LoggedModelStatus.PENDING
        assert (model.source_run_id, model.model_type) == (run_id, "agent")
        assert model.params == params

        ready = mlflow_client.finalize_logged_model(model.model_id, "READY")
        assert ready.status == LoggedModelStatus.READY
        mlflow_client.set_logged_model_tags(model.model_id, {"a": "2", "b c": "3"})
        mlflow_client.delete_logged_model_tag(model.model_id, "a")
        mlflow_client.log_model_params(model.model_id, {"late": "x"})
        found = mlflow_client.get_logged_model(model.model_id)
        assert found.tags == {"b c": "3"}
        assert found.params == params | {"late": "x"}

        mlflow_client.delete_logged_model(model.model_id)
        with pytest.raises(MlflowException, match=f"'{model.model_id}' not found") as error:
            mlflow_client.get_logged_model(model.model_id)
        assert error.value.error_code == "RESOURCE_DOES_NOT_EXIST"

    def test_failed(self, mlflow_client: MlflowClient) -> None:
        model = mlflow_client.create_logged_model("0")
        failed = mlflow_client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
        assert failed.status == LoggedModelStatus.FAILED

    def test_metrics(self, mlflow_client: MlflowClient, run_id: str) -> None:
        model_id = mlflow_client.create_logged_model("0").model_id
        for step, value in enumerate((0.5, math.nan)):
            mlflow_client.log_metric(
                run_id, "acc", value, timestamp=step, step=step, model_id=model_id,
                dataset_name="d", dataset_digest="g",
            )  # fmt: skip
        first, last = mlflow_client.get_logged_model(model_id).metrics
        assert (first.key, first.value, first.run_id, first.model_id) == (
            "acc",
            0.5,
            run_id,
            model_id,
        )
        assert (first.dataset_name, first.dataset_digest) == ("d", "g")
        assert math.isnan(last.value)

    def test_search(self, mlflow_client: MlflowClient, run_id: str) -> None:
        ids = []
        for n in range(5):
            model = mlflow_client.create_logged_model("0", f"m{n}", params={"n": str(n % 2)})
            mlflow_client.log_metric(run_id, "acc", n / 10, model_id=model.model_id)
            ids.append(model.model_id)
        found = mlflow_client.search_logged_models(
            ["0"],
            "params.n = '0' AND metrics.acc < 0.5",
            max_results=2,
            order_by=[{"field_name": "metrics.acc", "ascending": True}],
        )
        assert [model.model_id for model in found] == [ids[0], ids[2]]
        rest = mlflow_client.search_logged_models(
            ["0"],
            "params.n = '0' AND metrics.acc < 0.5",
            max_results=2,
            order_by=[{"field_name": "metrics.acc", "ascending": True}],
            page_token=found.token,
        )
        assert [model.model_id for model in rest] == [ids[4]]
        assert rest.token is None

    def test_artifacts(self, mlflow_client: MlflowClient, tmp_path: Path) -> None:
        model_id = mlflow_client.create_logged_model("0").model_id
        (tmp_path / "weights.bin").write_bytes(b"12")
        mlflow_client.log_model_artifact(model_id, str(tmp_path / "weights.bin"))
        (file,) = mlflow_client.list_logged_model_artifacts(model_id)
        assert (file.path, file.is_dir, file.file_size) == ("weights.bin", False, 2)


class TestInputsAndOutputs:
    def test_inputs(self, mlflow_client: MlflowClient, run_id: str) -> None:
        model_id = mlflow_client.create_logged_model("0").model_id
        dataset = Dataset("d", "g", "local", "s", schema="{}", profile="p")
        given = [DatasetInput(dataset, [InputTag("mlflow.data.context", "train")])]
        for _ in range(2):
            mlflow_client.log_inputs(run_id, given, [LoggedModelInput(model_id)])
        inputs = mlflow_client.get_run(run_id).inputs
        assert inputs.dataset_inputs == given
        assert inputs.model_inputs == [LoggedModelInput(model_id)]

    def test_outputs(self, mlflow_client: MlflowClient, run_id: str) -> None:
        model_id = mlflow_client.create_logged_model("0", source_run_id=run_id).model_id
        mlflow_client.log_outputs(run_id, [LoggedModelOutput(model_id, 3)])
        outputs = mlflow_client.get_run(run_id).outputs
        assert outputs.model_outputs == [LoggedModelOutput(model_id, 3)]


def test_fluent(tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook's steps: log a model in a run, load it, find it."""
    monkeypatch.chdir(tmp_path)

    class Doubler(mlflow.pyfunc.PythonModel):
        def predict(self, context: object, model_input: list[int]) -> list[int]:
            return [2 * value for value in model_input]

    mlflow.set_tracking_uri(tracking_uri)
    try:
        # Named explicitly, since the client keeps the last experiment for the whole process.
        with mlflow.start_run(experiment_id="0") as run:
            info = mlflow.pyfunc.log_model(
                name="doubler", python_model=Doubler(), pip_requirements=[]
            )
            mlflow.log_metric("acc", 0.9, model_id=info.model_id)
        loaded = mlflow.pyfunc.load_model(info.model_uri)
        assert loaded.predict([1, 2]) == [2, 4]
        (found,) = mlflow.search_logged_models(experiment_ids=["0"], output_format="list")
        assert (found.model_id, found.status) == (info.model_id, LoggedModelStatus.READY)
        assert [metric.value for metric in found.metrics] == [0.9]
        outputs = mlflow.get_run(run.info.run_id).outputs
        assert [output.model_id for output in outputs.model_outputs] == [info.model_id]
    finally:
        mlflow.set_tracking_uri(None)
