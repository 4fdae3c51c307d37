"""Processes that run `tracking`, forked where its code is loaded already.

Loading the application takes a second of CPU, and the tests start it some two hundred times. The
fork server of `multiprocessing` is a process without threads that loads it once and forks on
request. What a user starts, an interpreter of its own, is tested by tests/integration/cli.
"""

import multiprocessing
import os
import pkgutil
import resource
import signal
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_LOADED = [
    "app.cli",
    "app.main",
    "app.artifacts.stores.local",
    "app.artifacts.stores.s3",
    "app.auth.jwt_verifier",
    "uvicorn.lifespan.on",
    "uvloop",
]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(_LOADED)


class Tracking:
    """A running `tracking`, with the interface of `subprocess.Popen` as far as tests use it."""

    def __init__(
        self,
        arguments: list[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        stdout: Path,
        stderr: Path,
        open_files: int | None = None,
        constants: Mapping[str, object] | None = None,
    ) -> None:
        """What it writes is appended to the files; the same path twice is one file. `open_files`
        is its soft limit of these. `constants` are values for constants of its modules and
        classes, by their full names."""
        self._process: ForkServerProcess = _context.Process(
            target=_run,
            args=(
                arguments,
                dict(env),
                str(cwd),
                str(stdout),
                str(stderr),
                open_files,
                dict(constants or {}),
            ),
        )
        with _without_main():
            self._process.start()
        assert self._process.pid
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status. Raises subprocess.TimeoutExpired after `timeout` seconds."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("tracking", timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run_tracking(
    arguments: list[str], *, env: Mapping[str, str], cwd: Path, timeout: float = 60
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, as `subprocess.run` does with `capture_output`."""
    with tempfile.TemporaryDirectory() as folder:
        stdout, stderr = Path(folder) / "stdout", Path(folder) / "stderr"
        process = Tracking(arguments, env=env, cwd=cwd, stdout=stdout, stderr=stderr)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        return subprocess.CompletedProcess(arguments, code, stdout.read_text(), stderr.read_text())


@contextmanager
def _without_main() -> Iterator[None]:
    """A child of `multiprocessing` loads the main module of its parent, which here is pytest."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _run(
    arguments: list[str],
    env: dict[str, str],
    cwd: str,
    stdout: str,
    stderr: str,
    open_files: int | None,
    constants: dict[str, object],
) -> None:
    append = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for number, path, how in (
        (0, os.devnull, os.O_RDONLY),
        (1, stdout, append),
        (2, stderr, append),
    ):
        file = os.open(path, how, 0o600)
        if file != number:
            os.dup2(file, number)
            os.close(file)
    # uvicorn tells its workers the number of this file.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if open_files is not None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, most))
    for name, value in constants.items():
        owner, _, constant = name.rpartition(".")
        holder = pkgutil.resolve_name(owner)
        assert hasattr(holder, constant), name
        setattr(holder, constant, value)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = ["tracking", *arguments]
    from app.cli import main

    main()
