"""Indexes that migrations build concurrently: from the empty schema, and after a failed attempt."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from app.db import migrate
from tests.support.postgres_servers import PostgresServer
from tests.support.releases import Release, Revision

REVISION = Revision(
    'indexes.create_index_concurrently("later_idx", "params", ["tenant_id", "value"])',
    'indexes.drop_index_concurrently("later_idx", "params")',
)
INDEX = """
SELECT i.indexrelid, i.indisvalid, pg_get_indexdef(i.indexrelid)
FROM pg_index i WHERE i.indexrelid = to_regclass('later_idx')
"""
DEFINITION = "CREATE INDEX later_idx ON public.params USING btree (tenant_id, value)"
# A value under two keys.
LOG = """
WITH run AS (
    INSERT INTO runs (tenant_id, run_id, experiment_id, name, user_id, status, start_time)
    SELECT id, gen_random_uuid(), 0, 'run', 'me', 'RUNNING', 0 FROM tenants
    RETURNING tenant_id, run_id
)
INSERT INTO params
SELECT tenant_id, run_id, key, 'the same' FROM run, unnest(ARRAY['a', 'b']) AS key
"""

Migrate = Callable[..., None]


@pytest.fixture
def run(empty_database: PostgresServer, tmp_path: Path) -> Iterator[Migrate]:
    """Runs a command of the release that has the revision."""
    release = Release(tmp_path / "release", REVISION)

    def run(*command: str) -> None:
        status, _, errors = release.run(empty_database.owner_url, "app.cli", *command)
        assert status == 0, errors

    yield run
    run("downgrade", "base")


def index(url: str) -> "tuple[int, bool, str] | None":
    with psycopg.connect(url) as connection:
        return connection.execute(INDEX).fetchone()


def test_from_the_empty_schema_and_back(empty_database: PostgresServer, run: Migrate) -> None:
    run("migrate")
    assert index(empty_database.owner_url)[1:] == (True, DEFINITION)
    run("downgrade", migrate.head())
    assert index(empty_database.owner_url) is None


def test_replaces_what_a_failed_attempt_left(empty_database: PostgresServer, run: Migrate) -> None:
    url = empty_database.owner_url
    migrate.upgrade(url)
    with psycopg.connect(empty_database.superuser_url, autocommit=True) as connection:
        connection.execute("SET ROLE tracking_owner")
        _log_a_value_twice(connection)
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(
                "CREATE UNIQUE INDEX CONCURRENTLY later_idx ON params (tenant_id, value)"
            )
    left = index(url)
    assert left is not None
    assert left[1] is False
    run("migrate")
    assert index(url)[1:] == (True, DEFINITION)


def test_keeps_what_an_interrupted_one_has_built(
    empty_database: PostgresServer, run: Migrate
) -> None:
    """The index is there; its revision was not entered any more."""
    url = empty_database.owner_url
    migrate.upgrade(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(DEFINITION)
    built = index(url)
    run("migrate")
    assert index(url) == built


def _log_a_value_twice(connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    with connection.transaction():
        connection.execute("SELECT create_tenant('acme-corp')")
        connection.execute(LOG)
