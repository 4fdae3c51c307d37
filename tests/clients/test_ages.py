"""Clients of three ages, unmodified: each takes the tour of what it has."""

import json
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import Run, client_interpreter
from tests.conftest import new_slug

TOUR = Path(__file__).resolve().parent / "tour"

# What a client of MLflow 2 has, and what MLflow 3 added.
EVERY_CLIENT = [
    *("experiments", "nested_runs", "special_numbers", "batches"),
    *("other_scripts", "copies", "deleted_runs", "asynchronous", "datasets", "traced_function"),
    *("files", "texts", "percent_signs", "images", "unusual_paths"),
    *("registered_models", "model_versions", "stages", "aliases", "models_of_runs", "prompts"),
]
SINCE_3 = ["logged_models", "search", "registration"]


@pytest.fixture
def tracking_uri(server_url: str) -> str:
    """That of a tenant to whom nobody has written."""
    return f"{server_url}/t/{new_slug()}"


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("version", "chapters"),
    [("2.22", EVERY_CLIENT), ("3.1", EVERY_CLIENT + SINCE_3), ("3.17", EVERY_CLIENT + SINCE_3)],
)
def test_tour(version: str, chapters: list[str], run: Run) -> None:
    # The latest is the one that the tests themselves are run with.
    python = Path(sys.executable) if version == "3.17" else client_interpreter(version)
    tour = run(python, TOUR)
    assert tour.returncode == 0, tour.stderr
    report = json.loads(tour.stdout.splitlines()[-1])
    assert report["version"].startswith(f"{version}.")
    assert report["chapters"] == chapters
