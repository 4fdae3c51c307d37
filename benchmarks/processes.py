"""Processes of ours: started, waited for, measured, and ended by their ids."""

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

START_TIMEOUT = 120.0  # seconds: MLflow makes its schema first
STOP_TIMEOUT = 15.0
REST_TIMEOUT = 20.0
REST_SAMPLE = 0.3
REST_SHARE = 0.1  # of all CPUs


class NotStartedError(Exception):
    """A server ended, or did not answer in time."""


@dataclass(frozen=True)
class Memory:
    """Resident megabytes of a server's processes, the largest first."""

    processes: list[float]

    @property
    def largest(self) -> float:
        return self.processes[0]

    @property
    def total(self) -> float:
        return sum(self.processes)


@contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """These servers do nothing meanwhile. One may go on with what it was asked for long after
    nobody waits for it, and would be measured with the next one."""
    for pid in pids:
        os.killpg(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGCONT)


def wait_for_rest(at_most: float = REST_TIMEOUT) -> None:
    """Until the machine does next to nothing, or for so many seconds at most."""
    deadline = time.monotonic() + at_most
    busy, passed = _cpu_ticks()
    while time.monotonic() < deadline:
        time.sleep(REST_SAMPLE)
        busy_now, passed_now = _cpu_ticks()
        if busy_now - busy <= REST_SHARE * (passed_now - passed):
            return
        busy, passed = busy_now, passed_now


def _cpu_ticks() -> tuple[int, int]:
    """How long the CPUs have worked since they were started, and how long that is."""
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
    """A process that has answered 200 at the URL `ready`; yields its id, and ends it with all
    that it started."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us: we end what we started, in order
        )
    try:
        wait_until_ready(process, ready, log)
        yield process.pid
    finally:
        stop(process)


def wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    """Raises NotStartedError with the end of the log."""
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if httpx.get(url, timeout=5).status_code == 200:
                return
        time.sleep(0.02)
    end = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise NotStartedError(f"{process.args!r} did not answer at {url}:\n{end}")


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process, and what of its children outlives it."""
    children = [] if process.poll() is not None else family(process.pid)[1:]
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in children:
        # Its session is the one that `running` made, so the number was not given to a stranger.
        with suppress(ProcessLookupError):
            if os.getsid(pid) == process.pid:
                os.kill(pid, signal.SIGKILL)


def family(pid: int) -> list[int]:
    """The process and its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                # The name in brackets may hold anything; the parent is the second field after it.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def memory(pid: int) -> Memory:
    sizes = []
    for one in family(pid):
        with suppress(OSError):
            sizes.append(_megabytes(one, "VmRSS"))
    return Memory(sorted(sizes, reverse=True))


def peak_memory(pid: int) -> float:
    """The most resident megabytes that the process itself ever had."""
    return _megabytes(pid, "VmHWM")


def _megabytes(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)  # it has ended, and waits to be seen off
