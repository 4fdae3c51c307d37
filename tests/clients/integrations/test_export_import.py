"""mlflow-export-import moves everything that it knows of: in, out, and from tenant to tenant.

What it loses, it loses between two MLflow servers as well: what arrives is compared with what
arrives there. It ends with status 0 and says that all went well whatever happened, so that its
counts are read, too.
"""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.entities.model_registry import ModelVersion

from tests.clients.conftest import client_interpreter, environment_of_user
from tests.clients.integrations.conftest import (
    EXPECTED_REFUSALS,
    SCRIPTS,
    LoggingServer,
    refused,
)
from tests.conftest import new_slug
from tests.contract.parity.reference import Reference, running_reference

# Stages are deprecated, and in use.
pytestmark = [pytest.mark.timeout(400), pytest.mark.filterwarnings("ignore:.*stage:FutureWarning")]

RUNS = 5
UNICODE = "résumé 数据 🙂"
OUR_TAG = "matih.tenant_id"


@pytest.fixture(scope="module")
def mlflow_server(
    mlflow_tables: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reference]:
    with running_reference(tmp_path_factory.mktemp("mlflow"), mlflow_tables) as server:
        server.reset()
        yield server


class Tool:
    """mlflow-export-import, with folders of its own."""

    def __init__(self, python: Path, folder: Path) -> None:
        self._python = python
        self._folder = folder

    def export(self, uri: str, name: str) -> Path:
        exported = self._folder / name
        self._run(uri, "export-all", "--output-dir", exported)
        done = json.loads((exported / "manifest.json").read_text())["info"]
        assert (done["models"]["models"]["num_ok_models"], done["experiments"]["ok_runs"]) == (
            1,
            RUNS,
        )
        assert done["models"]["models"]["failed_models"] == []
        assert done["experiments"]["failed_runs"] == 0
        return exported

    def import_(self, exported: Path, uri: str) -> None:
        said = self._run(uri, "import-all", "--input-dir", exported)
        report = json.loads(said.rpartition("Import report:")[2])
        assert report["experiment_import"]["experiments"] == 3
        assert report["experiment_import"]["exceptions"] == []
        assert report["model_import"]["models"] == 1

    def _run(self, uri: str, *command: str | Path) -> str:
        done = subprocess.run(
            [str(part) for part in (self._python, SCRIPTS / "export_import.py", *command)],
            cwd=self._folder,
            env=environment_of_user(uri, self._folder),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Tool:
    python = client_interpreter("integrations", beside_ours=True)
    return Tool(python, tmp_path_factory.mktemp("tool"))


@pytest.fixture(scope="module")
def exported(
    tool: Tool,
    mlflow_server: Reference,
    logging_server: LoggingServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """The same, logged to MLflow's server and to ours, and exported from each."""
    uris = {"MLflow": mlflow_server.url, "ours": f"{logging_server.url}/t/{new_slug()}"}
    for uri in uris.values():
        fill(MlflowClient(uri), tmp_path_factory.mktemp("filled"))
    with ThreadPoolExecutor() as executor:
        exporting = {name: executor.submit(tool.export, uri, name) for name, uri in uris.items()}
        return {name: export.result() for name, export in exporting.items()}


@pytest.fixture(scope="module")
def expected(
    tool: Tool, exported: dict[str, Path], mlflow_server: Reference
) -> dict[str, dict[str, Any]]:
    """What an MLflow server has of another's export."""
    mlflow_server.reset()
    tool.import_(exported["MLflow"], mlflow_server.url)
    arrived = everything(MlflowClient(mlflow_server.url))
    # A test that compares nothing with nothing would pass.
    assert len(arrived["experiments"]) == 3
    assert len(arrived["runs"]) == RUNS
    assert [len(model["versions"]) for model in arrived["models"].values()] == [3]
    return arrived


@pytest.mark.parametrize(
    ("source", "target"), [("MLflow", "ours"), ("ours", "MLflow"), ("ours", "ours")]
)
def test_arrives_as_from_mlflow_to_mlflow(
    source: str,
    target: str,
    tool: Tool,
    exported: dict[str, Path],
    expected: dict[str, dict[str, Any]],
    mlflow_server: Reference,
    tracking_uri: str,
    answered: Callable[[], Counter[tuple[str, str, int]]],
) -> None:
    if target == "MLflow":
        mlflow_server.reset()
        tracking_uri = mlflow_server.url
    tool.import_(exported[source], tracking_uri)
    arrived = everything(MlflowClient(tracking_uri))
    for kind, entities in expected.items():
        assert arrived[kind].keys() == entities.keys()
        for name, entity in entities.items():
            assert arrived[kind][name] == entity, (kind, name)
    # It makes the experiment anew for each run, and takes the one that there is.
    there_already = ("POST", "/api/2.0/mlflow/experiments/create", 400)
    assert refused(answered()) <= {*EXPECTED_REFUSALS, there_already}


def fill(client: MlflowClient, folder: Path) -> None:
    """All that the tool knows of: experiments, runs, files, a model with versions."""
    client.set_experiment_tag("0", "team", "everyone")
    client.create_experiment("empty", tags={"team": UNICODE})
    churn = client.create_experiment("churn", tags={"mlflow.note.content": "**why** they leave"})
    parent = fill_run(client, churn, "parent", {})
    children = [
        fill_run(client, churn, name, {"mlflow.parentRunId": parent}) for name in ("a", UNICODE)
    ]
    failed = fill_run(client, churn, "failed", {})
    client.set_terminated(failed, "FAILED")
    fill_run(client, "0", "in Default", {})
    for run_id in (parent, *children):
        log_files(client, run_id, folder / run_id)

    client.create_registered_model("churn", tags={"team": UNICODE}, description="Who leaves?")
    sources = [
        f"runs:/{parent}/model",
        f"{client.get_run(children[0]).info.artifact_uri}/model",
        f"runs:/{children[1]}/model",
    ]
    for number, (source, run_id) in enumerate(zip(sources, (parent, *children), strict=True), 1):
        client.create_model_version(
            "churn", source, run_id, tags={"n": str(number)}, description=f"version {number}"
        )
    for version, stage in (("1", "Archived"), ("2", "Production"), ("3", "Staging")):
        client.transition_model_version_stage("churn", version, stage)
    client.set_registered_model_alias("churn", "champion", "2")


def fill_run(client: MlflowClient, experiment_id: str, name: str, tags: dict[str, str]) -> str:
    run = client.create_run(experiment_id, run_name=name, tags=tags | {"mlflow.user": "ann"})
    run_id: str = run.info.run_id
    now = run.info.start_time
    client.log_batch(
        run_id,
        metrics=[
            *(Metric("loss", 1 / (step + 1), now + step, step) for step in range(990)),
            *(Metric("again", value, now, 7) for value in (0.5, -1e300, 1e-300)),
            Metric("system/cpu utilization", 12.5, now, -3),
        ],
        params=[Param(f"p{number}", UNICODE * number) for number in range(1, 90)],
        tags=[RunTag(f"tag {number}", f"{UNICODE}\n{number}") for number in range(50)],
    )
    client.log_batch(run_id, metrics=[Metric("again", v, now, 7) for v in (0.5, -1e300, 1e-300)])
    client.set_terminated(run_id)
    return run_id


def log_files(client: MlflowClient, run_id: str, folder: Path) -> None:
    (folder / "model" / "deep" / UNICODE).mkdir(parents=True)
    (folder / "model" / "MLmodel").write_text(f"flavors: {{}}\nrun_id: {run_id}\n")
    (folder / "model" / "deep" / UNICODE / "weights.bin").write_bytes(bytes(range(256)) * 4096)
    (folder / "empty.txt").touch()
    client.log_artifacts(run_id, str(folder))


def everything(client: MlflowClient) -> dict[str, dict[str, Any]]:
    """What the server has, by its name, with names wherever it has ids."""
    experiments = {one.experiment_id: one for one in client.search_experiments()}
    runs = client.search_runs(list(experiments))
    names = {run.info.run_id: f"<{run.data.tags['mlflow.runName']}>" for run in runs}
    # A run's files lie elsewhere on each server.
    places = {run.info.artifact_uri: f"<files of {names[run.info.run_id]}>" for run in runs}
    models = client.search_registered_models()
    return {
        "experiments": {
            one.name: {"tags": own(one.tags), "stage": one.lifecycle_stage}
            for one in experiments.values()
        },
        "runs": {
            names[run.info.run_id]: describe_run(client, run, names)
            | {"experiment": experiments[run.info.experiment_id].name}
            for run in runs
        },
        "models": {
            model.name: {
                "description": model.description,
                "tags": model.tags,
                "aliases": model.aliases,
                "versions": sorted(
                    (
                        describe_version(version, places | names)
                        for version in client.search_model_versions(f"name = '{model.name}'")
                    ),
                    key=lambda version: int(version["version"]),
                ),
            }
            for model in models
        },
    }


def describe_run(client: MlflowClient, run: Run, names: dict[str, str]) -> dict[str, Any]:
    run_id = run.info.run_id
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "params": run.data.params,
        "tags": {key: named(value, names) for key, value in own(run.data.tags).items()},
        "latest": run.data.metrics,
        "metrics": {
            key: [(point.step, point.timestamp - first.timestamp, point.value) for point in history]
            for key in run.data.metrics
            for history in [client.get_metric_history(run_id, key)]
            for first in [history[0]]
        },
        "files": dict(files(client, run_id, names)),
    }


def files(
    client: MlflowClient, run_id: str, names: dict[str, str], folder: str = ""
) -> Iterator[tuple[str, str | bytes]]:
    for item in client.list_artifacts(run_id, folder):
        if item.is_dir:
            yield from files(client, run_id, names, item.path)
            continue
        content = Path(client.download_artifacts(run_id, item.path)).read_bytes()
        # The tool writes the run's new id into this file.
        is_text = item.path.endswith("MLmodel")
        yield item.path, named(content.decode(), names) if is_text else content


def describe_version(version: ModelVersion, names: dict[str, str]) -> dict[str, Any]:
    return {
        "version": version.version,
        "description": version.description,
        "stage": version.current_stage,
        "status": version.status,
        "tags": version.tags,
        "aliases": version.aliases,
        "run": named(version.run_id, names),
        # Of a source that is a place, the tool keeps more than it should: where that was before.
        "source": re.sub("//.*/artifacts/", "//…/artifacts/", named(version.source, names)),
    }


def own(tags: dict[str, str]) -> dict[str, str]:
    """Without the tag that this server derives, which MLflow keeps as any other."""
    return {key: value for key, value in tags.items() if key != OUR_TAG}


def named(text: str, names: dict[str, str]) -> str:
    pattern = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return re.sub(pattern, lambda found: names[found[0]], text)
