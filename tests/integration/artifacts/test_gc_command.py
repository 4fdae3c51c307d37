"""`tracking gc` as a process, beside a running server."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import psycopg
import pytest

from app.api.run_json_cache import RunJsonCache
from app.config import Settings
from app.db import migrate
from app.db.database import Database
from app.db.embedded import embedded_postgres
from app.kernel.tenant import Tenant
from app.metrics.entities import Point
from app.runs.entities import RunWrite
from app.services import Services
from tests.conftest import ROOT, new_slug
from tests.integration.artifacts.indexed import (
    folder_of,
    new_run,
    objects,
    put,
    read,
    rows,
    run_path,
)
from tests.support.processes import Tracking, run_tracking


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRACKING_")}
    assert settings.database_url
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "TRACKING_DATABASE_URL": settings.database_url,
        "TRACKING_DATA_DIR": str(settings.data_dir),
    }


@pytest.fixture
async def alone(settings: Settings, tmp_path: Path) -> AsyncIterator[Services]:
    """A database and a store without the tenants of other tests, of which there are thousands."""
    with embedded_postgres(tmp_path / "postgres", settings={"fsync": "off"}) as server:
        migrate.upgrade(server.owner_url)
        urls = {"database_url": server.app_url, "migration_database_url": server.owner_url}
        own = settings.model_copy(update={**urls, "data_dir": tmp_path / "data"})
        services = Services.build(own, RunJsonCache())
        yield services
        await services.close()


def gc(environment: dict[str, str], *options: str) -> "subprocess.CompletedProcess[str]":
    return run_tracking(["gc", *options], env=environment, cwd=ROOT)


def start(environment: dict[str, str], *options: str) -> Tracking:
    return Tracking(
        ["gc", *options],
        env=environment,
        cwd=ROOT,
        stdout=Path(os.devnull),
        stderr=Path(os.devnull),
    )


def on_terminal(environment: dict[str, str], *options: str) -> str:
    """The output of the command on stderr, where that is a terminal."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "app.cli", "gc", *options]
    environment = {**environment, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=slave
    ) as process:
        os.close(slave)
        shown = b""
        with suppress(OSError):  # which is how a terminal ends
            while chunk := os.read(master, 4096):
                shown += chunk
        assert process.wait(60) == 0
    os.close(master)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


async def archived_run(services: Services, tenant: Tenant, files: int = 1) -> str:
    run = await new_run(services, tenant)
    points = [Point("loss", 1.0, step, step) for step in range(20)]
    await services.runs.log(tenant, RunWrite(run.run_id.hex, points))
    for number in range(files):
        await put(services.artifacts, tenant, run_path(run, f"{number}"), b"12345")
    await services.runs.delete(tenant, run.run_id.hex)
    return run.run_id.hex


class TestCommand:
    async def test_dry_run_then_delete(
        self, services: Services, tenant: Tenant, environment: dict[str, str]
    ) -> None:
        run_id = await archived_run(services, tenant, files=2)
        of_tenant = ("--tenant", tenant.slug, "--archived-for", "0s")
        found = gc(environment, *of_tenant)
        assert found.returncode == 0, found.stderr
        assert found.stdout == (
            f"{tenant.slug}: found 1 runs, 20 points, 2 of their files (10 bytes)\n"
        )
        assert found.stderr == "nothing was removed; --delete removes it\n"
        assert (await services.runs.get(tenant, run_id)).deleted_time is not None
        done = gc(environment, *of_tenant, "--delete")
        assert done.stdout == found.stdout.replace("found", "removed")
        assert done.stderr == ""
        assert gc(environment, *of_tenant).stdout == f"{tenant.slug}: clean\n"

    async def test_shows_progress_on_a_terminal(
        self, services: Services, tenant: Tenant, environment: dict[str, str]
    ) -> None:
        await archived_run(services, tenant)
        shown = on_terminal(
            environment, "--tenant", tenant.slug, "--archived-for", "0s", "--delete"
        )
        assert re.search(f"{tenant.slug}: removing archived runs ━+ 1/1 ", shown)
        assert re.search(f"{tenant.slug}: removing points .* 20/", shown)

    async def test_retention_by_setting(
        self, services: Services, database: Database, tenant: Tenant, environment: dict[str, str]
    ) -> None:
        run_id = await archived_run(services, tenant)
        of_tenant = ("--tenant", tenant.slug)
        environment["TRACKING_RETENTION_DAYS"] = "30"
        assert gc(environment, *of_tenant).stdout == f"{tenant.slug}: clean\n"
        async with database.write_pipeline(tenant) as connection:
            await connection.execute_numbered(
                "UPDATE runs SET deleted_time = deleted_time - $1 WHERE tenant_id = $2",
                [31 * 86_400_000, tenant.id],
            )
        assert "found 1 runs" in gc(environment, *of_tenant).stdout
        assert "clean" in gc(environment, *of_tenant, "--archived-for", "32d").stdout
        del environment["TRACKING_RETENTION_DAYS"]
        assert "clean" in gc(environment, *of_tenant).stdout
        await services.runs.restore(tenant, run_id)

    async def test_all_tenants_and_those_that_are_gone(
        self, alone: Services, environment: dict[str, str]
    ) -> None:
        assert alone.settings.database_url
        environment["TRACKING_DATABASE_URL"] = alone.settings.database_url
        environment["TRACKING_DATA_DIR"] = str(alone.settings.data_dir)
        tenant, other_tenant = [
            await alone.tenant_lookup.resolve(new_slug(), create=True) for _ in range(2)
        ]
        store = alone.artifacts.store
        for one in (tenant, other_tenant):
            await put(alone.artifacts, one, f"{await folder_of(alone, one)}/a", b"12345")
        with psycopg.connect(alone.settings.database_url) as connection:
            connection.execute("SELECT delete_tenant(%s, true)", [tenant.slug])
        gone = f"{tenant.slug} (no tenant any more)"
        orphan = "1 objects without a file (5 bytes)"
        for options, told in (
            ([], f"{gone}: found {orphan}"),
            (["--gone-tenants"], f"{gone}: found {orphan}"),
        ):
            done = gc(environment, "--grace", "0s", *options)
            assert done.returncode == 0, done.stderr
            assert told in done.stdout
            assert f"{other_tenant.slug}: clean" in done.stdout
        assert len(await objects(store, tenant)) == 1
        done = gc(environment, "--grace", "0s", "--tenant", tenant.slug, "--delete")
        assert done.stdout == f"{tenant.slug}: removed {orphan}\n"
        assert await objects(store, tenant) == []
        assert len(await objects(store, other_tenant)) == 1

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--archived-for", "30"], "--archived-for must be a number and a unit"),
            (["--grace", "soon"], "--grace must be a number and a unit"),
            (["--tenant", "../etc"], "'../etc' is no tenant slug"),
        ],
    )
    def test_bad_options(self, environment: dict[str, str], options: list[str], words: str) -> None:
        done = gc(environment, *options)
        assert done.returncode == 1
        assert done.stderr.startswith(f"tracking: {words}")
        assert done.stdout == ""

    async def test_another_store(
        self, services: Services, tenant: Tenant, environment: dict[str, str], tmp_path: Path
    ) -> None:
        run = await new_run(services, tenant)
        await put(services.artifacts, tenant, run_path(run, "a"))
        environment["TRACKING_DATA_DIR"] = str(tmp_path)
        done = gc(environment, "--tenant", tenant.slug, "--delete")
        assert done.returncode == 1
        assert "check the settings of the store" in done.stderr
        assert await read(services.artifacts, tenant, run_path(run, "a")) == b"x"


class TestKilled:
    async def test_half_way(
        self,
        services: Services,
        database: Database,
        tenant: Tenant,
        environment: dict[str, str],
        server_url: str,
    ) -> None:
        """gc is killed at the start of each kind of work, while a server logs to the tenant."""
        kept = await new_run(services, tenant)
        await put(services.artifacts, tenant, run_path(kept, "kept"), b"kept")
        for _ in range(150):
            await archived_run(services, tenant)
        options = ("--tenant", tenant.slug, "--archived-for", "0s", "--grace", "0s", "--delete")
        killed = 0
        async with httpx.AsyncClient(base_url=f"{server_url}/t/{tenant.slug}") as client:
            for table in ("runs", "metric_points", "artifacts", "artifacts"):
                before = await rows(database, tenant, table)
                process = start(environment, *options)
                deadline = time.monotonic() + 60
                while process.poll() is None and time.monotonic() < deadline:
                    if await rows(database, tenant, table) < before:
                        process.send_signal(signal.SIGKILL)
                        break
                killed += process.wait() == -signal.SIGKILL
                logged = await client.post(
                    f"/api/v1/experiments/runs/{kept.run_id.hex}/log-metrics",
                    json={"metrics": {"m": 1}, "timestamp": 1},
                )
                assert logged.status_code == 200
        assert killed > 0
        done = gc(environment, *options)
        assert done.returncode == 0, done.stderr
        assert gc(environment, *options).stdout == f"{tenant.slug}: clean\n"
        for table, count in (("runs", 1), ("metric_points", 1), ("purged_series", 0)):
            assert await rows(database, tenant, table) == count
        assert len(await objects(services.artifacts.store, tenant)) == 1
        assert await read(services.artifacts, tenant, run_path(kept, "kept")) == b"kept"
