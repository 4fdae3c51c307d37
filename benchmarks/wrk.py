"""Load generation with wrk, which uses little CPU itself."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("requests.lua")

NUMBER = "@@@@@@@"
"""A placeholder in a request: wrk replaces it by a seven-digit number, unique per request."""
FIRST_NUMBER = 1_000_000

ANSWER_TIMEOUT = 30  # seconds


class WrkMissingError(Exception):
    """wrk is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "wrk, the load generator, is not installed: it is the package `wrk` of Debian, Ubuntu"
            " and Homebrew (apt-get install wrk)"
        )


@dataclass(frozen=True)
class Request:
    """One request of a workload; `body` is JSON or empty."""

    method: str
    path: str
    body: str = ""
    authorization: str = ""

    def line(self) -> str:
        return f"{self.method}\t{self.path}\t{self.authorization}\t{self.body}\n"


@dataclass(frozen=True)
class Load:
    """The result of one run of wrk; `p50` and `p99` are latencies in seconds.

    Requests in flight at the end of the run count as `sent`, not as `answered`.
    """

    seconds: float
    sent: int
    answered: int
    errors: int
    p50: float
    p99: float
    last_number: int


def check_installed() -> None:
    """Raises WrkMissingError if wrk is not installed."""
    if shutil.which("wrk") is None:
        raise WrkMissingError


def drive(
    url: str, requests: Sequence[Request], *, connections: int, seconds: int, after_number: int
) -> Load:
    """Sends `requests` in turn over keep-alive connections, for `seconds`."""
    with tempfile.NamedTemporaryFile("w", suffix=".requests") as file:
        file.writelines(request.line() for request in requests)
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={ANSWER_TIMEOUT}"]
        done = subprocess.run(
            [*command, "-s", str(SCRIPT), url, "--", file.name, str(after_number)],
            capture_output=True,
            text=True,
            timeout=seconds + ANSWER_TIMEOUT,
        )
    found = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not found:
        raise RuntimeError(f"wrk failed: {done.stdout}{done.stderr}")
    result = json.loads(found[0].removeprefix("RESULT "))
    return Load(
        seconds=result["microseconds"] / 1e6,
        sent=result["last_number"] - after_number,
        answered=result["requests"] - result["refused"],
        errors=result["refused"] + result["broken"],
        p50=result["p50"] / 1e6,
        p99=result["p99"] / 1e6,
        last_number=result["last_number"],
    )
