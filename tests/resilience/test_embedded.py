"""The embedded Postgres of `tracking serve` is killed, or can't start: it is started again, or the
service ends and says why. It is never left answering /health with no database behind it."""

import asyncio
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psycopg
import pytest

from app.db.embedded import EmbeddedPostgres, running
from tests.conftest import ROOT, answers, free_port, running_server
from tests.resilience.load import load
from tests.support.processes import Tracking


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def environment(data_dir: Path) -> dict[str, str]:
    """The settings of a server on its own Postgres."""
    return {"TRACKING_DATA_DIR": str(data_dir), "TRACKING_DATABASE_URL": ""}


def running_in(data_dir: Path) -> EmbeddedPostgres:
    server = running(data_dir)
    assert server is not None
    return server


def until(condition: Callable[[], object], within: float = 60) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def processes_in(folder: Path) -> list[int]:
    """Of Postgres, in its data folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.path.samefile(process / "cwd", folder):
                found.append(int(process.name))
    return found


# It neither waits nor writes.
COMPUTE_FOR_EVER = "SELECT count(*) FROM (SELECT generate_series(1, 1000000000000)) AS one"


def compute_for_ever(url: str) -> threading.Thread:
    """A statement that never waits, so that its process does not see that Postgres is gone."""

    def compute() -> None:
        with suppress(psycopg.OperationalError), psycopg.connect(url) as connection:
            connection.execute(COMPUTE_FOR_EVER)

    thread = threading.Thread(target=compute, daemon=True)
    thread.start()
    until(lambda: _active(url))
    return thread


def _active(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE query = %s", [COMPUTE_FOR_EVER]
        ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_killed_under_load(
    environment: dict[str, str], data_dir: Path, tmp_path: Path, workers: str
) -> None:
    """Three times; once with a process that computes and does not see that it is alone."""
    log = tmp_path / "log"
    environment |= {"TRACKING_WORKERS": workers}
    pids = set()
    with running_server(environment, log) as (url, process):
        async with load(url) as it:
            for kill in range(3):
                await it.more(60, within=60)
                server = await asyncio.to_thread(running_in, data_dir)
                if kill == 1:
                    await asyncio.to_thread(compute_for_ever, server.owner_url)
                pids.add(server.pid)
                os.kill(server.pid, signal.SIGKILL)
                async with httpx.AsyncClient(base_url=url) as probe:
                    assert (await probe.get("/health")).status_code == 200
                await it.refusals(1, within=60)
            await it.more(60, within=60)
        await it.check()
        assert process.poll() is None
    assert len(pids) == 3
    assert it.answers["503"] >= 3
    told = log.read_text()
    assert "Postgres has ended: it was killed by SIGKILL; starting it again" in told
    assert "Postgres runs again" in told
    assert processes_in(data_dir / "postgres") == []
    print("faults injected: the embedded Postgres killed 3 times")


def test_one_that_a_killed_owner_left(
    environment: dict[str, str], data_dir: Path, tmp_path: Path
) -> None:
    with running_server(environment, tmp_path / "log") as (_, process):
        process.kill()
        process.wait()
    left = running_in(data_dir)
    with running_server(environment, tmp_path / "log") as (url, process):
        assert running_in(data_dir) == left
        os.kill(left.pid, signal.SIGKILL)
        until(lambda: (found := running(data_dir)) and found != left)
        until(lambda: answers(url, "/ready"))
        assert process.poll() is None
    assert processes_in(data_dir / "postgres") == []


@contextmanager
def broken(data_dir: Path) -> Iterator[None]:
    """Postgres can't be started in its folder, for as long as the context lasts."""
    control = data_dir / "postgres" / "global" / "pg_control"
    kept = control.read_bytes()
    control.write_bytes(b"")
    try:
        yield
    finally:
        control.write_bytes(kept)


@contextmanager
def impatient(
    environment: dict[str, str], log: Path, patience: float
) -> Iterator[tuple[str, Tracking]]:
    """The command, with less patience than an operator wants it to have."""
    port = free_port()
    environment = os.environ | environment | {"TRACKING_PORT": str(port)}
    log.touch()
    process = Tracking(
        ["serve"],
        cwd=ROOT,
        env=environment,
        stdout=log,
        stderr=log,
        constants={"app.db.embedded.watch.MAX_TROUBLE_SECONDS": patience},
    )
    try:
        until(lambda: "ready on" in log.read_text() or process.poll() is not None)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_one_that_cannot_be_started_again(
    environment: dict[str, str], data_dir: Path, tmp_path: Path, workers: str
) -> None:
    log = tmp_path / "log"
    environment |= {"TRACKING_WORKERS": workers, "TRACKING_LOG_FORMAT": "text"}
    with impatient(environment, log, patience=3) as (_, process), broken(data_dir):
        os.kill(running_in(data_dir).pid, signal.SIGKILL)
        assert process.wait(60) == 1
    lines = log.read_text().splitlines()
    # Once for each reason, however often it was tried.
    assert sum(line.endswith("; trying again") for line in lines) == 1, lines
    ours = [line for line in lines if line.startswith("tracking: ")]
    assert re.fullmatch(
        r"tracking: Postgres has not run well for 3 s: Postgres did not start: .*pg_control.*",
        ours[-1],
    )
    assert "Traceback" not in log.read_text()
    assert processes_in(data_dir / "postgres") == []


def test_one_that_can_be_started_in_the_end(
    environment: dict[str, str], data_dir: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with impatient(environment, log, patience=60) as (url, process):
        with broken(data_dir):
            os.kill(running_in(data_dir).pid, signal.SIGKILL)
            until(lambda: "trying again" in log.read_text())
            answer = httpx.post(f"{url}/api/2.0/mlflow/runs/create", json={})
            assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        until(lambda: answers(url, "/ready"))
        assert httpx.post(f"{url}/api/2.0/mlflow/runs/create", json={}).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_a_folder_that_is_gone(environment: dict[str, str], data_dir: Path, tmp_path: Path) -> None:
    """It is not taken for the first start, which would begin with an empty database."""
    log = tmp_path / "log"
    with impatient(environment, log, patience=1) as (_, process):
        pid = running_in(data_dir).pid
        (data_dir / "postgres").rename(data_dir / "elsewhere")
        os.kill(pid, signal.SIGKILL)
        assert process.wait(60) == 1
    assert not (data_dir / "postgres").exists()
    assert "does not exist any more" in log.read_text().splitlines()[-1]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_it_is_started_again(
    environment: dict[str, str], data_dir: Path, tmp_path: Path, how: signal.Signals
) -> None:
    log = tmp_path / "log"
    with impatient(environment, log, patience=600) as (_, process), broken(data_dir):
        os.kill(running_in(data_dir).pid, signal.SIGKILL)
        until(lambda: "trying again" in log.read_text())
        process.send_signal(how)
        assert process.wait(60) == 0
        assert processes_in(data_dir / "postgres") == []
