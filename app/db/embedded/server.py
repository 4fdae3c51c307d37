"""The process of the embedded Postgres: whether it runs and answers, and how it is ended."""

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

# What a new server lacks, by name. Neither role is a superuser or bypasses row-level security.
SETUP = {
    OWNER: "CREATE ROLE tracking_owner LOGIN",
    APPLICATION: "CREATE ROLE tracking_app LOGIN",
    DATABASE: "CREATE DATABASE tracking OWNER tracking_owner",
}

START_TIMEOUT = 60.0  # seconds without any answer; while it replays its log, it has all the time
STOP_TIMEOUT = 30.0
ORPHANS_TIMEOUT = 5.0


class EmbeddedPostgresError(Exception):
    """The embedded Postgres cannot be used; the message is one line that says why."""


@dataclass(frozen=True)
class EmbeddedPostgres:
    """A running server: the URLs of its two roles, and the process id of its postmaster."""

    owner_url: str
    app_url: str
    pid: int


@dataclass
class Server:
    """A postmaster, known from the file it keeps in its data folder."""

    pid: int
    socket_dir: str
    port: str
    child: subprocess.Popen[bytes] | None = None  # None: started by an earlier owner
    log_begin: int = 0  # where in the log its lines begin

    @classmethod
    def recorded(cls, cluster: Path) -> "Server | None":
        """The server that `postmaster.pid` names, alive or not; None before it is complete."""
        try:
            lines = (cluster / "postmaster.pid").read_text().splitlines()
            pid, folder, _started, port, socket_dir = lines[:5]
            # A copy of a folder in use names the original's server.
            if socket_dir and os.path.samefile(folder, cluster):
                return cls(int(pid), socket_dir, port)
        except (OSError, ValueError):
            pass
        return None

    def connection_details(self) -> EmbeddedPostgres:
        where = f"{DATABASE}?host={quote(self.socket_dir, safe='')}&port={self.port}"
        return EmbeddedPostgres(
            f"postgresql://{OWNER}@/{where}", f"postgresql://{APPLICATION}@/{where}", self.pid
        )

    def connect(self, user: str, database: str) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(
            host=self.socket_dir,
            port=self.port,
            user=user,
            dbname=database,
            autocommit=True,
            connect_timeout=10,
        )

    def answers(self, user: str = SUPERUSER, database: str = "postgres") -> bool:
        try:
            self.connect(user, database).close()
        except psycopg.OperationalError:
            return False
        return True

    def gone(self) -> bool:
        if self.child:
            return self.child.poll() is not None
        return program(self.pid) != "postgres"

    def wait_for_answer(self, stopping: threading.Event) -> bool:
        """Whether it takes connections; False once it is gone, or nobody wants it any more, or at
        the time limit."""
        deadline = time.monotonic() + START_TIMEOUT
        while not self.gone() and time.monotonic() < deadline:
            if self.answers():
                return True
            if self._replays():
                deadline = time.monotonic() + START_TIMEOUT
            if stopping.wait(0.02):
                return False
        return False

    def _replays(self) -> bool:
        """Whether it says itself that it is not ready yet."""
        where = psycopg.conninfo.make_conninfo(host=self.socket_dir, port=self.port)
        return Ping(PGconn.ping(where.encode())) is Ping.REJECT

    def create_roles(self) -> None:
        with self.connect(SUPERUSER, "postgres") as connection:
            found = connection.execute(
                "SELECT rolname FROM pg_roles UNION ALL SELECT datname FROM pg_database"
            )
            names = {name for (name,) in found}
            for name, statement in SETUP.items():
                if name not in names:
                    connection.execute(statement)

    def stop(self) -> None:
        """Stop it as `pg_ctl stop -m fast` does: clients are cut off, what is committed stays."""
        for how in (signal.SIGINT, signal.SIGQUIT):
            if self.gone():  # and its number may be another's by now
                return
            with suppress(ProcessLookupError):
                os.kill(self.pid, how)
            deadline = time.monotonic() + STOP_TIMEOUT
            while time.monotonic() < deadline:
                if self.gone():
                    return
                time.sleep(0.01)


def program(pid: int) -> str | None:
    """The name of the program that runs as `pid`; None if there is no such process."""
    try:
        return Path(os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0])).name
    except OSError:
        if Path("/proc/self").exists():
            return None
    try:  # not Linux: all that can be told is that there is a process
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    return "postgres"


def end_orphans(cluster: Path) -> None:
    """End the processes that a killed postmaster has left in its folder.

    They hold its shared memory, and no other starts beside them. Idle ones end by themselves; one
    that computes would go on. Where the kernel does not tell whose they are (macOS), or they are
    slow to go, Postgres refuses to start, and says so.
    """
    deadline = time.monotonic() + ORPHANS_TIMEOUT
    while (orphans := _orphans(cluster)) and time.monotonic() < deadline:
        for pid in orphans:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)  # what it had not committed is undone by the restart
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
    except OSError:  # it is gone, or not ours to look at
        return False


def _parent(process: Path) -> int:
    """Its parent's id; 0 for a process that is gone."""
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
