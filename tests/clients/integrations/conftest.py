"""Programs that use MLflow through other libraries, and a server that logs their requests."""

import json
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient

from app.config import Settings
from tests.clients.conftest import Run
from tests.conftest import new_slug, running_server
from tests.support.waiting import PATIENCE

SCRIPTS = Path(__file__).with_name("scripts")

# What a client asks though it expects a no, and what is not kept here.
EXPECTED_REFUSALS = {
    ("GET", "/api/2.0/mlflow/experiments/get-by-name", 404): "set_experiment: is it there?",
}

# What MLflow warns of whichever server it talks to.
EXPECTED_WARNINGS = {
    r"`artifact_path` is deprecated": "MLflow's own autologging names models by it",
    r"(?i)pickle": "and stores them so",
    r"local version label": "of PyTorch's build for CPUs",
    r"model card could not be retrieved|license information": "the model comes from no hub",
}

# A line of MLflow's log, and a warning of Python's from a file of MLflow's.
_WARNING = re.compile(
    r"^[\d/]+ [\d:]+ (?:WARNING|ERROR) (mlflow\S*: .+)$|^\S+/(mlflow/\S+\.py:\d+: \w*Warning: .+)$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class LoggingServer:
    url: str
    log: Path

    def requests(self) -> list[dict[str, Any]]:
        """What was answered until now. The log is written by a thread: a last request of our own is
        waited for."""
        last = f"last-{secrets.token_hex(8)}"
        httpx.get(f"{self.url}/health", headers={"X-Request-ID": last})
        deadline = time.monotonic() + PATIENCE
        while last not in (written := self.log.read_text()):
            assert time.monotonic() < deadline, "the access log was not written"
            time.sleep(0.01)
        lines = [json.loads(line) for line in written.splitlines()]
        return [line for line in lines if line.get("logger") == "tracking.access"]


@pytest.fixture(scope="session")
def logging_server(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LoggingServer]:
    assert settings.database_url
    environment = {
        "TRACKING_DATABASE_URL": settings.database_url,
        "TRACKING_MIGRATION_DATABASE_URL": settings.migration_database_url or "",
        "TRACKING_DATA_DIR": str(settings.data_dir),
        "TRACKING_LOG_REQUESTS": "all",
        "TRACKING_LOG_FORMAT": "json",
    }
    log = tmp_path_factory.mktemp("server") / "log"
    with running_server(environment, log) as (url, _):
        yield LoggingServer(url, log)


@pytest.fixture
def tracking_uri(logging_server: LoggingServer) -> str:
    """That of a tenant to whom nobody has written."""
    return f"{logging_server.url}/t/{new_slug()}"


@pytest.fixture
def client(tracking_uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri)


@pytest.fixture
def answered(logging_server: LoggingServer) -> Callable[[], Counter[tuple[str, str, int]]]:
    """How often each method of a route was answered with each status since the test began."""
    before = len(logging_server.requests())

    def count() -> Counter[tuple[str, str, int]]:
        lines = logging_server.requests()[before:]
        return Counter((line["method"], line["route"], line["status"]) for line in lines)

    return count


@pytest.fixture
def train(
    run: Run,
    environment: dict[str, str],
    answered: Callable[[], Counter[tuple[str, str, int]]],
) -> Callable[..., dict[str, Any]]:
    """Run a script with a Python. What it prints in its last line is JSON: what the library itself
    says that it came to. Nothing was refused that it did not expect, and MLflow warned of nothing
    else than it always does."""

    def it(python: Path, script: str) -> dict[str, Any]:
        # A user's terminal has no limit of the number of threads; two tests at once have two cores.
        environment.update(OMP_NUM_THREADS="1", MPLBACKEND="Agg")
        done = run(python, SCRIPTS / script)
        assert done.returncode == 0, done.stderr
        assert refused(answered()) <= EXPECTED_REFUSALS.keys()
        unexpected = [
            said
            for said in map("".join, _WARNING.findall(done.stderr))
            if not any(re.search(pattern, said) for pattern in EXPECTED_WARNINGS)
        ]
        assert unexpected == []
        came_to: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return came_to

    return it


def refused(answers: Counter[tuple[str, str, int]]) -> set[tuple[str, str, int]]:
    return {answer for answer in answers if answer[2] >= 400}
