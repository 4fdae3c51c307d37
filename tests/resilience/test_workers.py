"""A worker is killed under load: another takes its place, and nothing acknowledged is lost."""

import asyncio
import os
import signal
import time
from pathlib import Path

from tests.conftest import running_server
from tests.resilience.load import load


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if int(fields[1]) == pid and b"spawn_main" in command:
                found.append(int(entry.name))
    return sorted(found)


async def both(pid: int, without: set[int]) -> list[int]:
    """The two workers, once there are two that were not killed."""
    deadline = time.monotonic() + 30
    while True:
        workers = children(pid)
        if len(workers) == 2 and not without & set(workers):
            return workers
        assert time.monotonic() < deadline, f"there are {len(workers)} workers"
        await asyncio.sleep(0.05)


async def test_workers_are_killed_and_replaced(environment: dict[str, str], tmp_path: Path) -> None:
    killed: set[int] = set()
    environment = environment | {"TRACKING_WORKERS": "2"}
    with running_server(environment, tmp_path / "log") as (url, process):
        async with load(url) as it:
            await it.more(100)
            for _ in range(3):
                victim = (await both(process.pid, without=killed))[0]
                os.kill(victim, signal.SIGKILL)
                killed.add(victim)
                await it.more(60, within=30)
            await both(process.pid, without=killed)
            await it.more(60)
        await it.check()
        assert process.poll() is None
    print(f"faults injected: {len(killed)} workers killed")
    assert len(killed) == 3
