"""Several worker processes: common metrics, and their end with the parent process."""

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from app.config import Settings
from tests.conftest import running_server
from tests.integration.observability.test_metrics import Samples, parse, requests


def _environment(settings: Settings, data_dir: Path) -> dict[str, str]:
    assert settings.database_url
    return {
        "TRACKING_DATABASE_URL": settings.database_url,
        "TRACKING_MIGRATION_DATABASE_URL": settings.migration_database_url or "",
        "TRACKING_DATA_DIR": str(data_dir),
        "TRACKING_WORKERS": "2",
    }


def _scrape(url: str) -> Samples:
    return parse(_get(f"{url}/metrics").text)


def _get(url: str) -> httpx.Response:
    """On a connection of its own, which either worker may accept. It loads no certificates."""
    return httpx.get(url, verify=False)


def _until(what: str, reached: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class TestMetrics:
    def test_a_scrape_shows_all_workers(self, settings: Settings, tmp_path: Path) -> None:
        environment = _environment(settings, tmp_path)
        with running_server(environment, tmp_path / "log") as (url, process):
            _until("both workers are counted", lambda: _live(url) == 2)
            before = requests(_scrape(url), route="/version")
            for _ in range(50):
                assert _get(f"{url}/version").status_code == 200
            everything = {before + 50}
            # Within a second, whichever worker is asked.
            _until("all count", lambda: {_answered(url) for _ in range(10)} == everything)

            # One that is killed is replaced; what it answered still counts.
            worker = _workers(process.pid)[0]
            worker.kill()
            _until("it is gone", lambda: not worker.is_running())
            _until("it is replaced", lambda: _live(url) == 2)
            assert {_answered(url) for _ in range(10)} == everything

    def test_nothing_is_left(self, settings: Settings, tmp_path: Path) -> None:
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        environment = _environment(settings, tmp_path) | {"TMPDIR": str(temporary)}
        with running_server(environment, tmp_path / "log") as (url, _):
            _until("both workers are counted", lambda: _live(url) == 2)
            assert list(temporary.iterdir())
        assert not list(temporary.iterdir())


class TestParent:
    def test_killed_its_workers_end_and_free_the_port(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        environment = _environment(settings, tmp_path)
        with running_server(environment, tmp_path / "log") as (url, process):
            _until("both workers are counted", lambda: _live(url) == 2)
            children = psutil.Process(process.pid).children(recursive=True)
            os.kill(process.pid, signal.SIGKILL)
            process.wait(10)
            _, alive = psutil.wait_procs(children, timeout=20)
            assert not alive
            with socket.socket() as again:
                again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                again.bind(("127.0.0.1", int(url.rpartition(":")[2])))


def _live(url: str) -> float:
    try:
        return _scrape(url)["tracking_workers", ()]
    except httpx.TransportError:  # the worker that had accepted was killed
        return 0


def _answered(url: str) -> float:
    return requests(_scrape(url), route="/version")


def _workers(pid: int) -> list[psutil.Process]:
    """The children that serve, and not multiprocessing's resource tracker."""
    children = psutil.Process(pid).children()
    return [one for one in children if "spawn_main" in " ".join(one.cmdline())]
