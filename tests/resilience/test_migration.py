"""A migration fails half-way: the schema is as it was, what it holds is whole, and when what stood
in its way is gone, migrating again is all that it takes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from app.db import migrate
from tests.conftest import ROOT
from tests.resilience.postgres import Killable

# All of a database's structure, told by Postgres itself.
STRUCTURE = """
SELECT 'column', table_name || '.' || column_name, data_type || is_nullable
FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL
SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT 'function', oid::regprocedure::text, md5(prosrc)
FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT 'policy', tablename || '.' || policyname, qual
FROM pg_policies WHERE schemaname = 'public'
UNION ALL SELECT 'revision', version_num, '' FROM alembic_version
"""

BREAKING = '''
"""One that fails after it has changed much."""
from alembic import op
revision, down_revision, branch_labels, depends_on = "{revision}", "{head}", None, None

def upgrade():
    op.execute("CREATE TABLE half_way (tenant_id integer, x integer)")
    op.execute("ALTER TABLE runs ADD COLUMN half_way integer NOT NULL DEFAULT 7")
    op.execute("UPDATE runs SET name = 'half-way'")
    op.execute("DROP TABLE params")
    op.execute("SELECT 1 / (SELECT count(*) FROM runs WHERE name = 'never')")

def downgrade():
    pass
'''


def structure(url: str) -> set[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return set(connection.execute(STRUCTURE).fetchall())


def tracking(root: Path, url: str, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *command],
        cwd=root,
        env=os.environ | {"TRACKING_DATABASE_URL": url, "TRACKING_MIGRATION_DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A copy of the code, for a later version that has a broken migration."""
    root = tmp_path / "release"
    root.mkdir()
    for name in ("app", "migrations"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "alembic.ini", root)
    (root / "migrations" / "versions" / "9999_breaking.py").write_text(
        BREAKING.format(revision="9999", head=migrate.head())
    )
    return root


def test_one_that_fails_at_its_end(killable: Killable, release: Path) -> None:
    url = killable.server.owner_url
    with psycopg.connect(url) as connection:
        connection.execute("SELECT create_tenant('acme-corp')")
    before = structure(url)
    failed = tracking(release, url, "migrate")
    assert failed.returncode == 1
    assert "division by zero" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert structure(url) == before
    assert migrate.state(url) == "current"
    # Repaired, the same command brings it up to date.
    broken = release / "migrations" / "versions" / "9999_breaking.py"
    broken.write_text(broken.read_text().replace("1 / (SELECT count(*)", "1 + (SELECT count(*)"))
    broken.write_text(broken.read_text().replace('op.execute("DROP TABLE params")', "pass"))
    repaired = tracking(release, url, "migrate")
    assert repaired.returncode == 0, repaired.stderr
    assert ("revision", "9999", "") in structure(url)
    print("faults injected: a migration that fails at its end")


def test_one_that_is_killed(killable: Killable, release: Path) -> None:
    """Postgres goes away in the middle of it."""
    url = killable.server.owner_url
    before = structure(url)
    broken = release / "migrations" / "versions" / "9999_breaking.py"
    broken.write_text(broken.read_text().replace("SELECT 1 /", "SELECT pg_sleep(60) --"))
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "migrate"],
        cwd=release,
        env=os.environ | {"TRACKING_DATABASE_URL": url, "TRACKING_MIGRATION_DATABASE_URL": url},
        stderr=subprocess.PIPE,
        text=True,
    )
    superuser = url.replace("//tracking_owner@", "//postgres@")
    with psycopg.connect(superuser, autocommit=True) as connection:
        for _ in range(600):
            asleep = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
            ).fetchone()
            if (asleep and asleep[0]) or process.poll() is not None:
                break
            connection.execute("SELECT pg_sleep(0.05)")
    assert process.poll() is None
    killable.kill()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors.count("\n") <= 3, errors
    killable.start()
    assert structure(url) == before
    assert migrate.state(url) == "current"
    print("faults injected: Postgres killed during a migration")


def test_the_service_does_not_start_on_a_schema_that_is_behind(
    killable: Killable, release: Path
) -> None:
    url = killable.server.owner_url
    refused = tracking(release, url, "serve")
    assert refused.returncode == 1
    assert "tracking migrate" in refused.stderr
