"""Startup time: from the command to the first answer, with the embedded Postgres."""

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import peers, processes
from benchmarks.further.bench import Bench
from benchmarks.measure import Goal, Result

LATER_STARTS = 3


def measure(bench: Bench) -> list[Result]:
    data = bench.folder / "start"
    first = Result("start, new database", "tracking", "s", [_start(data)])
    later = [_start(data) for _ in range(LATER_STARTS)]
    goals = (Goal(None, 5),)
    return [first, Result("start, as it was left", "tracking", "s", later, goals=goals)]


def _start(data: Path) -> float:
    """Seconds until /ready answers 200."""
    port = processes.free_port()
    own = {"TRACKING_PORT": str(port), "TRACKING_DATA_DIR": str(data)}
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("TRACKING_")
    } | own
    log = data.with_suffix(".log")
    started = time.perf_counter()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "serve"],
            cwd=peers.ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        processes.wait_until_ready(process, f"http://127.0.0.1:{port}/ready", log)
        return time.perf_counter() - started
    finally:
        processes.stop(process)
