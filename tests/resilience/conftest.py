"""Servers as processes, with all that they depend on in the hands of the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.resilience.postgres import Killable


@pytest.fixture
def killable(tmp_path: Path) -> Iterator[Killable]:
    with Killable(tmp_path / "postgres") as it:
        yield it


@pytest.fixture
def environment(killable: Killable, tmp_path: Path) -> dict[str, str]:
    """The settings of a server on that Postgres."""
    return {
        "TRACKING_DATABASE_URL": killable.server.app_url,
        "TRACKING_MIGRATION_DATABASE_URL": killable.server.owner_url,
        "TRACKING_DATA_DIR": str(tmp_path / "data"),
    }
