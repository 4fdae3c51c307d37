"""The embedded Postgres's process: finding it, checking that it answers, and stopping it."""

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg.pq import PGconn, Ping

SUPERUSER = "postgres"
OWNER = "tracking_owner"
APPLICATION = "tracking_app"
DATABASE = "tracking"

# Statements for a new server, by what they create. Neither role bypasses row-level security.
SETUP = {
    OWNER: "CREATE ROLE tracking_owner LOGIN",
    APPLICATION: "CREATE ROLE tracking_app LOGIN",
    DATABASE: "CREATE DATABASE tracking OWNER tracking_owner",
}

# Seconds. A start has no limit while the server replays its log.
START_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0
ORPHANS_TIMEOUT = 5.0


class EmbeddedPostgresError(Exception):
    """The embedded Postgres cannot be used; the message says why on one line."""


@dataclass(frozen=True)
class EmbeddedPostgres:
    """A running server: the URLs for its two roles, and the process id of the postmaster."""

    owner_url: str
    app_url: str
    pid: int


@dataclass
class Server:
    """A postmaster, started by us or found by its file `postmaster.pid`."""

    pid: int
    socket_dir: str
    port: str
    child: subprocess.Popen[bytes] | None = None  # None if an earlier owner started it
    log_begin: int = 0  # the log's size when it was started

    @classmethod
    def recorded(cls, cluster: Path) -> "Server | None":
        """The server in `postmaster.pid`, running or not; None without a complete file."""
        try:
            lines = (cluster / "postmaster.pid").read_text().splitlines()
            pid, folder, _started, port, socket_dir = lines[:5]
            # A copied data folder contains the file of the original's server.
            if socket_dir and os.path.samefile(folder, cluster):
                return cls(int(pid), socket_dir, port)
        except (OSError, ValueError):
            pass
        return None

    def connection_details(self) -> EmbeddedPostgres:
        """The URLs and the process id."""
        where = f"{DATABASE}?host={quote(self.socket_dir, safe='')}&port={self.port}"
        return EmbeddedPostgres(
            f"postgresql://{OWNER}@/{where}", f"postgresql://{APPLICATION}@/{where}", self.pid
        )

    def connect(self, user: str, database: str) -> "psycopg.Connection[tuple[object, ...]]":
        """A connection in autocommit mode. Raises psycopg.OperationalError."""
        return psycopg.connect(
            host=self.socket_dir,
            port=self.port,
            user=user,
            dbname=database,
            autocommit=True,
            connect_timeout=10,
        )

    def answers(self, user: str = SUPERUSER, database: str = "postgres") -> bool:
        """Whether the server accepts connections."""
        try:
            self.connect(user, database).close()
        except psycopg.OperationalError:
            return False
        return True

    def has_ended(self) -> bool:
        """Whether the process does not run any more."""
        if self.child:
            return self.child.poll() is not None
        return program(self.pid) != "postgres"

    def wait_for_answer(self, stopping: threading.Event) -> bool:
        """Wait until the server accepts connections; False if it has ended, `stopping` was set, or
        the time limit was reached."""
        deadline = time.monotonic() + START_TIMEOUT
        while not self.has_ended() and time.monotonic() < deadline:
            if self.answers():
                return True
            if self._is_replaying():
                deadline = time.monotonic() + START_TIMEOUT
            if stopping.wait(0.02):
                return False
        return False

    def _is_replaying(self) -> bool:
        """Whether the server reports that it is starting up: it replays its log."""
        where = psycopg.conninfo.make_conninfo(host=self.socket_dir, port=self.port)
        return Ping(PGconn.ping(where.encode())) is Ping.REJECT

    def create_roles(self) -> None:
        """Create the roles and the database that are missing."""
        with self.connect(SUPERUSER, "postgres") as connection:
            found = connection.execute(
                "SELECT rolname FROM pg_roles UNION ALL SELECT datname FROM pg_database"
            )
            names = {name for (name,) in found}
            for name, statement in SETUP.items():
                if name not in names:
                    connection.execute(statement)

    def stop(self) -> None:
        """Stop the server as `pg_ctl stop -m fast` does: clients are disconnected."""
        for how in (signal.SIGINT, signal.SIGQUIT):
            if self.has_ended():  # its process id may be reused by now
                return
            with suppress(ProcessLookupError):
                os.kill(self.pid, how)
            deadline = time.monotonic() + STOP_TIMEOUT
            while time.monotonic() < deadline:
                if self.has_ended():
                    return
                time.sleep(0.01)


def program(pid: int) -> str | None:
    """The name of the program that runs as `pid`; None if there is no such process."""
    try:
        return Path(os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0])).name
    except OSError:
        if Path("/proc/self").exists():
            return None
    try:  # not Linux: only whether there is such a process can be found out
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    return "postgres"


def end_orphans(cluster: Path) -> None:
    """Kill the backends that a killed postmaster has left running in its folder.

    They hold its shared memory, so that no new postmaster can start. Idle ones end by themselves;
    one that runs a statement would go on. On systems without /proc (macOS), or if they do not end
    in time, Postgres refuses to start and logs why.
    """
    deadline = time.monotonic() + ORPHANS_TIMEOUT
    while (orphans := _orphans(cluster)) and time.monotonic() < deadline:
        for pid in orphans:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)  # the restart rolls back what was not committed
        time.sleep(0.02)


def _orphans(cluster: Path) -> list[int]:
    return [
        int(process.name)
        for process in Path("/proc").glob("[0-9]*")
        if _is_backend(process, cluster) and program(_parent(process)) != "postgres"
    ]


def _is_backend(process: Path, cluster: Path) -> bool:
    try:
        title = (process / "cmdline").read_bytes()
        return title.startswith(b"postgres: ") and os.path.samefile(process / "cwd", cluster)
    except OSError:  # it has ended, or belongs to another user
        return False


def _parent(process: Path) -> int:
    """The parent's process id; 0 if the process has ended."""
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
