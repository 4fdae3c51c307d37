"""Starts, pauses, measures and stops the servers' processes."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

# Seconds. MLflow creates its schema at its first start.
START_TIMEOUT = 120.0
STOP_TIMEOUT = 15.0
IDLE_TIMEOUT = 20.0
IDLE_SAMPLE = 0.3
IDLE_SHARE = 0.1  # below this share of all CPUs, the machine is idle


class NotStartedError(Exception):
    """A server exited, or did not answer in time."""


@dataclass(frozen=True)
class Memory:
    """Resident memory of a server's processes in MB, the largest first."""

    processes: list[float]

    @property
    def largest(self) -> float:
        return self.processes[0]

    @property
    def total(self) -> float:
        return sum(self.processes)


@contextmanager
def paused(pids: Sequence[int]) -> Iterator[None]:
    """Pauses servers (SIGSTOP) within the context.

    A server can go on with requests long after their clients have gone, which would slow down the
    server that is measured next.
    """
    for pid in pids:
        os.killpg(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGCONT)


def wait_until_idle(at_most: float = IDLE_TIMEOUT) -> None:
    """Waits until the machine is idle, for at most `at_most` seconds."""
    deadline = time.monotonic() + at_most
    busy, passed = _cpu_ticks()
    while time.monotonic() < deadline:
        time.sleep(IDLE_SAMPLE)
        busy_now, passed_now = _cpu_ticks()
        if busy_now - busy <= IDLE_SHARE * (passed_now - passed):
            return
        busy, passed = busy_now, passed_now


def _cpu_ticks() -> tuple[int, int]:
    """Busy ticks and all ticks of the CPUs since boot."""
    with open("/proc/stat") as file:
        user, nice, system, idle, waiting, *interrupts = map(int, file.readline().split()[1:8])
    busy = user + nice + system + sum(interrupts)
    return busy, busy + idle + waiting


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str], log: Path, ready: str, *, env: Mapping[str, str], cwd: Path
) -> Iterator[int]:
    """Starts a process, waits until the URL `ready` answers 200, and yields the process id.

    Stops the process and its descendants at the end of the context.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C must not reach it: the benchmark stops it
        )
    try:
        wait_until_ready(process, ready, log)
        yield process.pid
    finally:
        stop(process)


def wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    """Waits until `url` answers 200. Raises NotStartedError with the last lines of the log."""
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if httpx.get(url, timeout=5).status_code == 200:
                return
        time.sleep(0.02)
    end = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise NotStartedError(f"{process.args!r} did not answer at {url}:\n{end}")


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Terminates a process, and kills descendants that outlive it."""
    children = [] if process.poll() is not None else process_tree(process.pid)[1:]
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in children:
        # The session shows that the pid has not been reused by another process.
        with suppress(ProcessLookupError):
            if os.getsid(pid) == process.pid:
                os.kill(pid, signal.SIGKILL)


def process_tree(pid: int) -> list[int]:
    """The process id and those of its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                # The process name in brackets may hold any text; the parent is the second field
                # after it.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for ancestor in found:  # the list grows meanwhile
        found += parents.get(ancestor, [])
    return found


def memory(pid: int) -> Memory:
    sizes = []
    for member in process_tree(pid):
        with suppress(OSError):
            sizes.append(_megabytes(member, "VmRSS"))
    return Memory(sorted(sizes, reverse=True))


def peak_memory(pid: int) -> float:
    """The peak resident memory of the process itself, in MB."""
    return _megabytes(pid, "VmHWM")


def _megabytes(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)  # a zombie
