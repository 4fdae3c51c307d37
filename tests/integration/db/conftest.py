"""Empty databases on the oldest supported Postgres and on the embedded one."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres_servers import POSTGRES_15, PostgresServer, embedded, postgres_15


@pytest.fixture(scope="module", params=["embedded", "postgres-15"])
def empty_database(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """Each test leaves it as empty as it found it."""
    if request.param == "embedded":
        with tempfile.TemporaryDirectory() as folder, embedded(Path(folder)) as server:
            yield server
    else:
        if not (POSTGRES_15 / "postgres").exists():
            pytest.skip("PostgreSQL 15 is not installed (Debian: postgresql-15)")
        with postgres_15() as server:
            yield server
