"""Clients in processes of their own: nothing of theirs is left in the process of the tests."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.environments import CannotInstallError, interpreter_of

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tracking_uri: str, tmp_path: Path) -> dict[str, str]:
    return environment_of_user(tracking_uri, tmp_path)


def environment_of_user(tracking_uri: str, home: Path) -> dict[str, str]:
    """The variables of a user who has set nothing but MLFLOW_TRACKING_URI."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MLFLOW_", "PYTHON"))
    }
    return kept | {
        "MLFLOW_TRACKING_URI": tracking_uri,
        # What the server refuses should fail a test at once, and not be tried for minutes.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HOME": str(home),
    }


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    """Run a command in a folder that the test may write to."""

    def it(*command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(part) for part in command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return it


def client_interpreter(name: str, *, beside_ours: bool = False) -> Path:
    """The Python of `interpreter_of`. Where that cannot be installed, the test is skipped: a
    developer may be offline. In CI nothing is skipped that should have been tested."""
    try:
        return interpreter_of(name, beside_ours=beside_ours)
    except CannotInstallError as error:
        said = str(error)
    reason = f"requirements-{name}.txt cannot be installed: "
    if os.environ.get("CI") == "true":
        pytest.fail(reason + said)
    pytest.skip(reason + said.splitlines()[-1])
