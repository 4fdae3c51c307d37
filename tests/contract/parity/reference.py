"""A real MLflow server over SQLite, which is emptied between cases."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from tests.conftest import answers, free_port

# The next experiment gets the number after this one. With numbers as long as our own, one can be
# told from any other number in an answer.
LAST_EXPERIMENT_ID = 700_000_000_000_000_000


class Reference:
    """A running MLflow server; `url` is what a client sets as its tracking URI."""

    def __init__(self, url: str, database: Path) -> None:
        self.url = url
        self._database = database
        self._rows_at_start = self._read()

    def reset(self) -> None:
        """Bring every table back to what it held when the server had started."""
        with closing(sqlite3.connect(self._database)) as connection:
            connection.execute("PRAGMA synchronous = off")
            connection.execute("PRAGMA ignore_check_constraints = on")
            with connection:
                for table, rows in self._rows_at_start.items():
                    connection.execute(f'DELETE FROM "{table}"')
                    for row in rows:
                        marks = ", ".join("?" * len(row))
                        connection.execute(f'INSERT INTO "{table}" VALUES ({marks})', row)
                # Its stage is one that no view shows.
                connection.execute(
                    "INSERT INTO experiments (experiment_id, name, lifecycle_stage, workspace)"
                    " VALUES (?, '', 'hidden', 'default')",
                    (LAST_EXPERIMENT_ID,),
                )

    def _read(self) -> dict[str, list[tuple[object, ...]]]:
        with closing(sqlite3.connect(self._database)) as connection:
            tables = connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            ).fetchall()
            return {
                name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in tables
            }


@contextmanager
def running_reference(folder: Path, tables: Path, *options: str) -> Iterator[Reference]:
    """`mlflow server` as its users start it, with `options`: of this interpreter's environment, on
    a copy of the database `tables`, or the program that TRACKING_PARITY_MLFLOW names, which makes
    its own. It is ended with the context."""
    database, log = folder / "mlflow.db", folder / "log"
    url = f"http://127.0.0.1:{(port := free_port())}"
    program = os.environ.get("TRACKING_PARITY_MLFLOW")
    if not program:
        shutil.copy(tables, database)
    command = [
        *([program] if program else [sys.executable, "-m", "mlflow"]),
        *("server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{database}"),
        *("--artifacts-destination", str(folder / "artifacts")),
        *options,
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | _ENVIRONMENT,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Its workers are in its process group, which can then be ended as one.
            start_new_session=True,
        )
    try:
        _wait_until_healthy(url, process, log)
        yield Reference(url, database)
    finally:
        _end(process)


_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    # SQLite's commits wait for no disk; nobody needs this data after a crash.
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
}


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while not answers(url, "/health"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the MLflow server did not start:\n{log.read_text()}")
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(10)
            return
        except subprocess.TimeoutExpired:
            continue
