"""Migrations beside a service that is logged to: they give up on a lock, and block it no longer."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from app.db import migrate
from app.db.embedded.postgres import EmbeddedPostgres, embedded_postgres
from tests.conftest import running_server
from tests.support.releases import Release, Revision

# ACCESS EXCLUSIVE, for which every use of the table waits.
ALTER_RUNS = Revision('op.execute("ALTER TABLE runs ADD COLUMN later integer")')
INDEX = Revision('indexes.create_index_concurrently("later_idx", "runs", ["tenant_id", "name"])')
# Sessions that wait for a lock on runs, by the mode of the lock.
WAITING = """
SELECT count(*) FROM pg_locks
WHERE relation = 'runs'::regclass AND mode = %s AND NOT granted
"""
# Index builds that wait for older transactions.
BUILDING = """
SELECT count(*) FROM pg_stat_activity
WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    with embedded_postgres(tmp_path / "postgres", settings={"fsync": "off"}) as it:
        migrate.upgrade(it.owner_url)
        yield it


@pytest.fixture
def service(server: EmbeddedPostgres, tmp_path: Path) -> Iterator["Client"]:
    environment = {
        "TRACKING_DATABASE_URL": server.app_url,
        "TRACKING_MIGRATION_DATABASE_URL": server.owner_url,
        "TRACKING_DATA_DIR": str(tmp_path / "data"),
    }
    with (
        running_server(environment, tmp_path / "log") as (url, _),
        httpx.Client(base_url=f"{url}/t/acme-corp/api/2.0/mlflow", timeout=30) as client,
    ):
        yield Client(client)


class Client:
    """A tenant's, with two runs: another session holds the one, the other is logged to."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        experiment = self._made("experiments/create", name="locks")["experiment_id"]
        self.held, self.logged = (
            self._made("runs/create", experiment_id=experiment)["run"]["info"]["run_id"]
            for _ in range(2)
        )
        self._step = 0

    def log(self) -> None:
        """Log a batch; it has to be answered 200."""
        self._step += 1
        metric = {"key": "loss", "value": 1, "timestamp": self._step, "step": self._step}
        self._made("runs/log-batch", run_id=self.logged, metrics=[metric])

    def points(self) -> int:
        answer = self._client.get(
            "metrics/get-history", params={"run_id": self.logged, "metric_key": "loss"}
        )
        return len(answer.json()["metrics"])

    def _made(self, path: str, **body: object) -> dict[str, Any]:
        answer = self._client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def log_batch(server: EmbeddedPostgres, run_id: str) -> Iterator[int]:
    """A log-batch that does not come to its end: it has locked its run, and written to it. Yields
    the pid of its session."""
    with psycopg.connect(server.app_url, application_name="stuck") as connection:
        tenant = connection.execute("SELECT id FROM tenants WHERE slug = 'acme-corp'").fetchone()
        assert tenant
        connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(tenant[0])])
        locked = connection.execute(
            "UPDATE runs SET version = version + 1 WHERE run_id = %s RETURNING tenant_id", [run_id]
        ).fetchone()
        assert locked
        connection.execute(
            "INSERT INTO params VALUES (%s, %s, 'key', 'value')", [locked[0], run_id]
        )
        yield connection.info.backend_pid
        connection.execute("SELECT 1")  # raises where it was ended meanwhile
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def revision(server: EmbeddedPostgres) -> object:
    with psycopg.connect(server.owner_url) as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert row
    return row[0]


class TestGivesUp:
    def test_while_requests_go_on(
        self, server: EmbeddedPostgres, service: Client, tmp_path: Path
    ) -> None:
        release = Release(tmp_path / "release", ALTER_RUNS)
        with (
            psycopg.connect(server.owner_url, autocommit=True) as observer,
            log_batch(server, service.held) as pid,
        ):

            def waiting(mode: str) -> int:
                (count,) = observer.execute(WAITING, [mode]).fetchone() or (0,)
                return int(count)

            with release.start(
                server.owner_url, "app.cli", "migrate", "--lock-timeout", "2"
            ) as migration:
                until(lambda: waiting("AccessExclusiveLock"))
                # It queues behind the migration, and is answered though the batch never ends.
                service.log()
                output, errors = migration.communicate(timeout=60)
            assert waiting("AccessExclusiveLock") == 0
            service.log()
        assert migration.returncode == 1
        told = errors.splitlines()[-1]
        assert told.startswith("tracking: cannot migrate: ")
        assert f"table runs, held by pid {pid} (tracking_app, stuck)" in told
        assert f"stays at revision {migrate.head()}, and it is safe to run this again" in told
        assert "Traceback" not in output + errors
        assert revision(server) == migrate.head()
        # When the batch is done, so is the migration.
        assert release.run(server.owner_url, "app.cli", "migrate")[0] == 0
        assert revision(server) == "9001"
        service.log()
        assert service.points() == 3

    def test_alembic_too(self, server: EmbeddedPostgres, service: Client, tmp_path: Path) -> None:
        release = Release(tmp_path / "release", ALTER_RUNS)
        alembic = ("alembic", "-x", "lock_timeout=0.5", "upgrade", "head")
        with log_batch(server, service.held) as pid:
            status, output, errors = release.run(server.owner_url, *alembic)
        assert status not in (0, None)
        (told,) = [line for line in output.splitlines() if line.startswith("FAILED: ")]
        assert f"held by pid {pid}" in told
        assert "it is safe to run this again" in told
        assert "Traceback" not in output + errors
        assert revision(server) == migrate.head()
        assert release.run(server.owner_url, *alembic)[0] == 0

    def test_and_keeps_the_revisions_before(
        self, server: EmbeddedPostgres, service: Client, tmp_path: Path
    ) -> None:
        """With what the application may do with what they made."""
        made = (
            'op.execute("CREATE TABLE later (tenant_id integer, x integer)"); rls.protect("later")'
        )
        release = Release(tmp_path / "release", Revision(made), ALTER_RUNS)
        with log_batch(server, service.held):
            status, _, errors = release.run(
                server.owner_url, "app.cli", "migrate", "--lock-timeout", "0.5"
            )
        assert status == 1
        assert "the schema stays at revision 9001" in errors
        assert revision(server) == "9001"
        with psycopg.connect(server.app_url) as application:
            assert application.execute("SELECT count(*) FROM later").fetchone() == (0,)

    def test_a_statement_that_runs_too_long(self, server: EmbeddedPostgres, tmp_path: Path) -> None:
        slow = 'op.execute("SELECT pg_sleep(1.5)")'
        longer = f"op.execute(\"SET LOCAL statement_timeout = '60s'\"); {slow}"
        release = Release(tmp_path / "release", Revision(longer), Revision(slow))
        migration = ("app.cli", "migrate", "--statement-timeout")
        status, _, errors = release.run(server.owner_url, *migration, "1")
        assert status == 1
        told = errors.splitlines()[-1]
        assert "statement timeout [SELECT pg_sleep(1.5)]; the schema stays at revision 9001" in told
        assert "safe to run this again" in told
        assert release.run(server.owner_url, *migration, "60")[0] == 0
        assert revision(server) == "9002"


class TestConcurrentIndexes:
    """CREATE INDEX CONCURRENTLY waits for older transactions, whatever the timeouts."""

    def test_nobody_waits_for_one(
        self, server: EmbeddedPostgres, service: Client, tmp_path: Path
    ) -> None:
        release = Release(tmp_path / "release", INDEX)
        migration = ("app.cli", "migrate", "--lock-timeout", "0.2")
        with (
            psycopg.connect(server.owner_url, autocommit=True) as observer,
            log_batch(server, service.held),
        ):
            first = release.start(server.owner_url, *migration)
            until(lambda: observer.execute(BUILDING).fetchone() == (1,))
            # Another replica that migrates waits for the first, which does not wait for it.
            second = release.start(server.owner_url, *migration)
            assert second.stderr is not None
            assert any("another migration is running" in line for line in second.stderr)
            service.log()
            assert (first.poll(), second.poll()) == (None, None)
        for process in (first, second):
            with process:
                _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
        assert revision(server) == "9001"
        service.log()
