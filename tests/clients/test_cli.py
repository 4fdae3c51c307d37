"""MLflow's command line, where it talks to nothing but the tracking server.

Most commands run in this process, since each of their own takes seconds to import MLflow.
"""

import csv
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.cli import cli

from tests.clients.conftest import Run


@pytest.fixture(autouse=True)
def client(
    tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MlflowClient]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    mlflow.set_tracking_uri(tracking_uri)
    try:
        yield MlflowClient()
    finally:
        mlflow.set_tracking_uri(None)


def call(*command: str) -> str:
    """What `mlflow …` writes to its standard output; it has to succeed."""
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def rows(table: str) -> list[list[str]]:
    """The cells of a printed table, below its head."""
    return [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()[2:] if line.strip()]


@pytest.fixture
def experiment_id(client: MlflowClient) -> str:
    return client.create_experiment("churn", tags={"team": "data-science"})


@pytest.fixture
def run_id(client: MlflowClient, experiment_id: str) -> str:
    run_id = client.create_run(experiment_id, run_name="baseline").info.run_id
    client.log_param(run_id, "depth", "6")
    client.log_metric(run_id, "loss", 0.25)
    client.set_terminated(run_id)
    return run_id


class TestExperiments:
    def test_create(self, client: MlflowClient) -> None:
        output = call("experiments", "create", "--experiment-name", "new one")
        experiment = client.get_experiment_by_name("new one")
        assert experiment is not None
        assert f"Created experiment 'new one' with id {experiment.experiment_id}" in output

    def test_search(self, client: MlflowClient, experiment_id: str) -> None:
        deleted_id = client.create_experiment("deleted")
        client.delete_experiment(deleted_id)
        default = ["0", "Default", "mlflow-artifacts:/experiments/0"]
        churn = [experiment_id, "churn", f"mlflow-artifacts:/experiments/{experiment_id}"]
        deleted = [deleted_id, "deleted", f"mlflow-artifacts:/experiments/{deleted_id}"]
        assert rows(call("experiments", "search")) == [default, churn]
        assert rows(call("experiments", "search", "--view", "deleted_only")) == [deleted]
        assert rows(call("experiments", "search", "--view", "all")) == [default, churn, deleted]
        assert len(rows(call("experiments", "search", "--max-results", "1"))) == 1

    @pytest.mark.parametrize("by", ["id", "name"])
    def test_get(self, experiment_id: str, by: str) -> None:
        named = {"id": experiment_id, "name": "churn"}[by]
        output = call("experiments", "get", f"--experiment-{by}", named, "--output", "json")
        found = json.loads(output)
        assert (found["experiment_id"], found["name"]) == (experiment_id, "churn")
        assert found["tags"]["team"] == "data-science"
        assert found["lifecycle_stage"] == "active"

    def test_get_as_a_table(self, experiment_id: str) -> None:
        lines = call("experiments", "get", "-x", experiment_id).splitlines()
        shown = dict(re.split(r"\s*: ", line, maxsplit=1) for line in lines)
        assert (shown["Experiment ID"], shown["Name"]) == (experiment_id, "churn")
        assert "team=data-science" in shown["Tags"]

    def test_rename_delete_restore(self, client: MlflowClient, experiment_id: str) -> None:
        output = call("experiments", "rename", "-x", experiment_id, "--new-name", "churn 2")
        assert f"Experiment with id {experiment_id} has been renamed to 'churn 2'" in output
        assert client.get_experiment(experiment_id).name == "churn 2"
        output = call("experiments", "delete", "-x", experiment_id)
        assert f"Experiment with ID {experiment_id} has been deleted" in output
        assert client.get_experiment(experiment_id).lifecycle_stage == "deleted"
        output = call("experiments", "restore", "-x", experiment_id)
        assert f"Experiment with id {experiment_id} has been restored" in output
        assert client.get_experiment(experiment_id).lifecycle_stage == "active"

    def test_update(self, client: MlflowClient, experiment_id: str) -> None:
        """Archival of traces is all that it changes: it is kept as a tag."""
        before = client.get_experiment(experiment_id).tags
        retention = ("experiments", "update", "-x", experiment_id)
        call(*retention, "--trace-archival-retention", "30d")
        (added,) = client.get_experiment(experiment_id).tags.keys() - before.keys()
        assert "30d" in client.get_experiment(experiment_id).tags[added]
        call(*retention, "--clear-trace-archival-retention")
        assert client.get_experiment(experiment_id).tags == before

    def test_csv(self, experiment_id: str, run_id: str) -> None:
        (row,) = csv.DictReader(io.StringIO(call("experiments", "csv", "-x", experiment_id)))
        assert (row["run_id"], row["experiment_id"]) == (run_id, experiment_id)
        assert (row["params.depth"], row["metrics.loss"]) == ("6", "0.25")
        assert (row["status"], row["tags.mlflow.runName"]) == ("FINISHED", "baseline")
        call("experiments", "csv", "-x", experiment_id, "-o", "runs.csv")
        (same,) = csv.DictReader(io.StringIO(Path("runs.csv").read_text()))
        assert same == row


class TestRuns:
    def test_create(self, client: MlflowClient, experiment_id: str, run_id: str) -> None:
        output = call(
            *("runs", "create", "--experiment-name", "churn", "--run-name", "by hand"),
            *("--tags", "env=prod", "--tags", "v=1", "--description", "words"),
            *("--status", "failed", "--parent-run-id", run_id),
        )
        answer = json.loads(output[output.index("{") :])
        run = client.get_run(answer["run_id"])
        assert answer["experiment_id"] == run.info.experiment_id == experiment_id
        assert answer["status"] == run.info.status == "FAILED"
        assert answer["run_name"] == run.info.run_name == "by hand"
        assert (run.data.tags["env"], run.data.tags["v"]) == ("prod", "1")
        assert run.data.tags["mlflow.note.content"] == "words"
        assert run.data.tags["mlflow.parentRunId"] == run_id

    def test_list(self, client: MlflowClient, experiment_id: str, run_id: str) -> None:
        deleted_id = client.create_run(experiment_id, run_name="deleted").info.run_id
        client.delete_run(deleted_id)

        def listed(*options: str) -> set[tuple[str, str]]:
            table = rows(call("runs", "list", "--experiment-id", experiment_id, *options))
            return {(name, its_id) for _, name, its_id in table}

        assert listed() == {("baseline", run_id)}
        assert listed("--view", "deleted_only") == {("deleted", deleted_id)}
        assert listed("--view", "all") == {("baseline", run_id), ("deleted", deleted_id)}

    def test_describe(self, run_id: str) -> None:
        run = json.loads(call("runs", "describe", "--run-id", run_id))
        assert (run["info"]["run_id"], run["info"]["status"]) == (run_id, "FINISHED")
        assert run["data"]["params"] == {"depth": "6"}
        assert run["data"]["metrics"] == {"loss": 0.25}

    def test_delete_restore(self, client: MlflowClient, run_id: str) -> None:
        output = call("runs", "delete", "--run-id", run_id)
        assert f"Run with ID {run_id} has been deleted" in output
        assert client.get_run(run_id).info.lifecycle_stage == "deleted"
        output = call("runs", "restore", "--run-id", run_id)
        assert f"Run with id {run_id} has been restored" in output
        assert client.get_run(run_id).info.lifecycle_stage == "active"


class TestArtifacts:
    def test_log_list_download(self, run_id: str) -> None:
        folder = Path("données")
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "data.bin").write_bytes(b"\x00\xff")
        Path("note.txt").write_text("hello")
        call("artifacts", "log-artifact", "-l", "note.txt", "-r", run_id, "-a", "notes")
        call("artifacts", "log-artifacts", "-l", str(folder), "-r", run_id, "-a", str(folder))

        listed = json.loads(call("artifacts", "list", "-r", run_id))
        assert [(item["path"], item["is_dir"]) for item in listed] == [
            ("données", True),
            ("notes", True),
        ]
        listed = json.loads(call("artifacts", "list", "-r", run_id, "-a", "notes"))
        assert listed == [{"path": "notes/note.txt", "is_dir": False, "file_size": 5}]

        local = call("artifacts", "download", "-r", run_id, "-d", "copy").strip()
        assert Path(local, "données", "deep", "data.bin").read_bytes() == b"\x00\xff"
        local = call("artifacts", "download", "-r", run_id, "-a", "notes/note.txt").strip()
        assert Path(local).read_text() == "hello"
        uri = f"runs:/{run_id}/notes"
        local = call("artifacts", "download", "-u", uri, "-d", "notes").strip()
        assert Path(local, "note.txt").read_text() == "hello"


class Doubler(mlflow.pyfunc.PythonModel):
    def predict(self, context: object, model_input: list[int]) -> list[int]:
        return [2 * value for value in model_input]


class TestModels:
    def test_of_a_run_and_of_the_registry(
        self, client: MlflowClient, experiment_id: str, tmp_path: Path
    ) -> None:
        with mlflow.start_run(experiment_id=experiment_id) as run:
            model = mlflow.pyfunc.log_model(
                name="doubler",
                python_model=Doubler(),
                pip_requirements=["mlflow"],
                registered_model_name="doubler",
            )
        of_the_run = f"runs:/{run.info.run_id}/doubler"

        local = ("--env-manager", "local")
        Path("in.json").write_text('{"inputs": [1, 2]}')
        call("models", "predict", "-m", of_the_run, *local, "-i", "in.json", "-o", "out.json")
        assert json.loads(Path("out.json").read_text()) == {"predictions": [2, 4]}

        call("models", "generate-dockerfile", "-m", "models:/doubler/1", *local, "-d", "image")
        assert (tmp_path / "image" / "Dockerfile").is_file()
        assert (tmp_path / "image" / "model_dir" / "MLmodel").is_file()

        add = ("models", "update-pip-requirements", "-m", model.model_uri, "add")
        call(*add, "some-package==1.0")
        folder = Path(mlflow.artifacts.download_artifacts("models:/doubler/1"))
        assert (folder / "requirements.txt").read_text().split() == ["mlflow", "some-package==1.0"]


class TestProjects:
    def test_run(self, client: MlflowClient, run: Run, environment: dict[str, str]) -> None:
        """As a user has it: a program of its own, which starts the project's."""
        folder = Path("project")
        folder.mkdir()
        (folder / "MLproject").write_text(
            "name: project\nentry_points:\n  main:\n    parameters: {rate: float}\n"
            "    command: python train.py {rate}\n"
        )
        (folder / "train.py").write_text(
            "import sys, mlflow\nmlflow.log_metric('rate', float(sys.argv[1]))\n"
        )
        programs = str(Path(sys.executable).parent)  # the project's `python` is found here
        environment["PATH"] = os.pathsep.join([programs, environment["PATH"]])
        options = ("--env-manager", "local", "--experiment-name", "projects")
        done = run(sys.executable, "-m", "mlflow", "run", "project", *options, "-P", "rate=0.5")
        assert done.returncode == 0, done.stderr
        experiment = client.get_experiment_by_name("projects")
        assert experiment is not None
        (logged,) = client.search_runs([experiment.experiment_id])
        assert logged.info.status == "FINISHED"
        assert (logged.data.params, logged.data.metrics) == ({"rate": "0.5"}, {"rate": 0.5})


class TestErrors:
    def test_last_line_says_what_is_wrong(self, run: Run) -> None:
        """MLflow prints a traceback above it, whichever server it talks to."""
        failed = run(sys.executable, "-m", "mlflow", "runs", "describe", "--run-id", "nope")
        assert failed.returncode == 1
        assert failed.stdout == ""
        assert failed.stderr.splitlines()[-1].endswith(
            "RestException: RESOURCE_DOES_NOT_EXIST: Run with id=nope not found"
        )

    @pytest.mark.parametrize(
        ("command", "message"),
        [
            (
                "experiments create -n churn",
                "RESOURCE_ALREADY_EXISTS: Experiment(name=churn) already exists.",
            ),
            ("experiments get -x 1", "RESOURCE_DOES_NOT_EXIST: No Experiment with id=1 exists"),
            ("experiments get -n nope", "Experiment with name 'nope' does not exist."),
            ("runs delete --run-id nope", "RESOURCE_DOES_NOT_EXIST: Run with id=nope not found"),
            ("artifacts list -r nope", "RESOURCE_DOES_NOT_EXIST: Run with id=nope not found"),
            (
                "models predict -m models:/nope/1 --env-manager local",
                "RESOURCE_DOES_NOT_EXIST: Registered Model with name=nope not found",
            ),
        ],
    )
    def test_of_the_server(self, experiment_id: str, command: str, message: str) -> None:
        result = CliRunner().invoke(cli, command.split())
        assert result.exit_code == 1
        assert message in str(result.exception)

    @pytest.mark.parametrize(
        ("command", "route"),
        [
            ("traces get --trace-id tr-1", "GET .*/api/[23].0/mlflow/traces/tr-1"),
            (
                "runs link-traces --run-id {run_id} -t tr-1",
                "POST .*/api/2.0/mlflow/traces/link-to-run",
            ),
        ],
    )
    def test_of_what_is_not_served(self, run_id: str, command: str, route: str) -> None:
        result = CliRunner().invoke(cli, command.format(run_id=run_id).split())
        assert result.exit_code == 1
        said = f"{result.output}{result.exception}"
        assert re.search(f"ENDPOINT_NOT_FOUND: {route} is not served here.", said), said

    @pytest.mark.parametrize(
        "command",
        [
            "traces search --experiment-id 0",
            "scorers list -x 0",
            "datasets list --experiment-id 0",
        ],
    )
    def test_of_what_is_not_kept(self, run_id: str, command: str) -> None:
        result = CliRunner().invoke(cli, command.split())
        assert result.exit_code == 0, f"{result.output}{result.exception}"
