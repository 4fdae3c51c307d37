"""The environments of older clients are made once, and made again when they have to be."""

import subprocess
from pathlib import Path

import pytest

from tests.clients import environments
from tests.clients.conftest import client_interpreter
from tests.clients.environments import CannotInstallError, interpreter_of


@pytest.fixture
def requirements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Those of a client `1`, none yet; no package index can be reached."""
    monkeypatch.setattr(environments, "HERE", tmp_path)
    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path / "with a space" / "clients")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("CI", raising=False)
    path = tmp_path / "requirements-1.txt"
    path.write_text("")
    return path


def test_made_once(requirements: Path) -> None:
    python = interpreter_of("1")
    mark = python.parent / "mark"
    mark.touch()
    assert interpreter_of("1") == python
    assert mark.exists()


def test_made_again_for_other_requirements(requirements: Path) -> None:
    mark = interpreter_of("1").parent / "mark"
    mark.touch()
    requirements.write_text("# another text is enough\n")
    interpreter_of("1")
    assert not mark.exists()


@pytest.mark.parametrize("beside_ours", [True, False])
def test_has_our_packages_where_asked_for(requirements: Path, beside_ours: bool) -> None:
    python = interpreter_of("1", beside_ours=beside_ours)
    imported = subprocess.run([python, "-c", "import pytest"], env={}, capture_output=True)
    assert (imported.returncode == 0) == beside_ours


def test_made_again_after_a_failure(requirements: Path) -> None:
    requirements.write_text("mlflow-skinny==2.22.5\n")
    for _ in range(2):
        with pytest.raises(CannotInstallError, match="mlflow-skinny"):
            interpreter_of("1")


def test_offline_its_tests_are_skipped(requirements: Path) -> None:
    requirements.write_text("mlflow-skinny==2.22.5\n")
    with pytest.raises(pytest.skip.Exception, match=r"1\.txt cannot be installed: .*mlflow-skinny"):
        client_interpreter("1")


def test_but_not_in_ci(requirements: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requirements.write_text("mlflow-skinny==2.22.5\n")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="cannot be installed"):
        client_interpreter("1")
