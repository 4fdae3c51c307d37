"""Starts the measured servers, ours and the peers, each with its own Postgres."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx

from benchmarks import peers, postgres, processes
from benchmarks.postgres import Postgres

OURS = "tracking"
TENANT = "bench"


@dataclass(frozen=True)
class Tables:
    """The table of a server's metric points, and all of its tables of metrics."""

    points: str
    metrics: tuple[str, ...]


TABLES = {
    OURS: Tables("metric_points", ("metric_points", "metric_series")),
    "fasttrackml": Tables("metrics", ("metrics", "latest_metrics")),
    "mlflow": Tables("metrics", ("metrics", "latest_metrics")),
}


@dataclass(frozen=True)
class Server:
    """A running server: its HTTP client, its process and its database."""

    name: str
    kind: str
    url: str
    prefix: str
    pid: int
    database: str
    postgres: Postgres
    client: httpx.Client = field(repr=False)

    def path(self, route: str) -> str:
        """The path of a route of MLflow's API."""
        api = "ajax-api" if route.startswith("metrics/get-history-bulk") else "api"
        return f"{self.prefix}/{api}/2.0/mlflow/{route}"

    def post(self, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return _json(self.client.post(self.path(route), json=body))

    def get(self, route: str, **query: Any) -> dict[str, Any]:
        return _json(self.client.get(self.path(route), params=query))

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of its database, of all tenants."""
        with self.postgres.connect(self.database) as connection:
            return connection.execute(statement, values).fetchall()

    def count(self, statement: str, values: Sequence[object] = ()) -> int:
        return int(self.rows(statement, values)[0][0])

    def points(self) -> int:
        return self.count(f"SELECT count(*) FROM {TABLES[self.kind].points}")

    def bytes_of_metrics(self) -> int:
        """Size of its tables of metrics in bytes, with indexes and TOAST."""
        tables = list(TABLES[self.kind].metrics)
        sizes = "SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(%s::text[]) name"
        return self.count(sizes, [tables])

    def memory(self) -> processes.Memory:
        return processes.memory(self.pid)


def _json(response: httpx.Response) -> dict[str, Any]:
    if response.status_code >= 400:
        raise RuntimeError(f"{response.url} answered {response.status_code}: {response.text[:500]}")
    found: dict[str, Any] = response.json()
    return found


@contextmanager
def running(names: Sequence[str], folder: Path) -> Iterator[list[Server]]:
    """Starts our service and the named peers, and stops them at the end of the context.

    Each has its own Postgres. In a shared one, a transaction that one server leaves open keeps
    vacuum from cleaning up the tables of the others.
    """
    with ExitStack() as stack:
        database = stack.enter_context(postgres.running(folder / f"{OURS}-postgres"))
        started = [stack.enter_context(ours(database, folder))]
        for name in names:
            database = stack.enter_context(postgres.running(folder / f"{name}-postgres"))
            database.create_database(name)
            started.append(stack.enter_context(_peer(name, database, folder)))
        yield started


@contextmanager
def ours(
    database: Postgres,
    folder: Path,
    *,
    workers: int = 1,
    name: str = OURS,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Server]:
    port = processes.free_port()
    variables = {
        "TRACKING_PORT": str(port),
        "TRACKING_WORKERS": str(workers),
        "TRACKING_DATABASE_URL": database.server.app_url,
        "TRACKING_MIGRATION_DATABASE_URL": database.server.owner_url,
        "TRACKING_DATA_DIR": str(folder / "data"),
        **settings,
    }
    command = [sys.executable, "-m", "app.cli", "serve"]
    url = f"http://127.0.0.1:{port}"
    log = folder / f"{name}.log"
    with (
        processes.running(command, log, f"{url}/ready", env=variables, cwd=peers.ROOT) as pid,
        _client(url) as client,
    ):
        yield Server(name, OURS, url, f"/t/{TENANT}", pid, "tracking", database, client)


@contextmanager
def _peer(name: str, database: Postgres, folder: Path) -> Iterator[Server]:
    port = processes.free_port()
    command = _COMMANDS[name](database.url(name), port)
    environment = {
        # No background jobs, and no telemetry.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    home = folder / name
    home.mkdir()
    url = f"http://127.0.0.1:{port}"
    with (
        processes.running(
            command, folder / f"{name}.log", f"{url}/health", env=environment, cwd=home
        ) as pid,
        _client(url) as client,
    ):
        yield Server(name, name, url, "", pid, name, database, client)


def _fasttrackml(database: str, port: int) -> list[str]:
    options = ["--database-uri", database.replace("postgresql:", "postgres:", 1)]
    options += ["--listen-address", f"127.0.0.1:{port}", "--log-level", "error"]
    return [peers.program("fasttrackml", "fml"), "server", *options]


def _mlflow(database: str, port: int) -> list[str]:
    store = database.replace("postgresql:", "postgresql+psycopg2:", 1)
    options = ["--backend-store-uri", store, "--workers", "2"]
    options += ["--host", "127.0.0.1", "--port", str(port)]
    python = peers.program("mlflow", "python")
    return [python, "-m", "mlflow", "server", *options]


_COMMANDS = {"fasttrackml": _fasttrackml, "mlflow": _mlflow}


@contextmanager
def _client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=120) as client:
        yield client
