"""A real Postgres for development and tests, run from the programs of a wheel.

One folder is one server. The process that holds the lock on `data_dir/lock` owns it: it starts the
server, or adopts the one that a killed owner left behind, and stops it when it is done. Nothing
listens on TCP: clients connect through a Unix socket in a folder that only its user may enter.
`app.db.embedded.watch` keeps one running. See docs/decisions/0001-embedded-postgres.md.
"""

import fcntl
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg

from app.db.embedded.cluster import (
    initialize,
    installed_programs,
    last_words,
    line,
    log_size,
    socket_dir,
    start_process,
)
from app.db.embedded.server import (
    DATABASE,
    OWNER,
    EmbeddedPostgres,
    EmbeddedPostgresError,
    Server,
    end_orphans,
    program,
)
from app.kernel.private_files import make_private, open_private

SETTINGS = {
    "listen_addresses": "",
    "port": "5432",  # only a part of the socket's name
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "wal_level": "minimal",  # nothing replicates it
    "max_wal_senders": "0",
    "jit": "off",  # costs more than it saves on short statements
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}

_MIB = 1 << 20
_WAL_MIB = 1024  # Postgres's own limit, between two checkpoints
_LEAST_WAL_MIB = 64

_NEVER = threading.Event()


@contextmanager
def embedded_postgres(
    data_dir: Path, *, settings: Mapping[str, str] = {}
) -> Iterator[EmbeddedPostgres]:
    """Own the server of `data_dir` for as long as the context lasts, then stop it.

    `settings` are Postgres's own, over the defaults here. An adopted server keeps those that it
    was started with. Raises EmbeddedPostgresError if another process owns the server or if it
    cannot start.
    """
    with locked(data_dir):
        server = start(data_dir, settings)
        try:
            yield server.connection_details()
        finally:
            server.stop()


def running(data_dir: Path) -> EmbeddedPostgres | None:
    """The server that runs for `data_dir`, whoever owns it; None if none answers."""
    server = Server.recorded(data_dir.resolve() / "postgres")
    if server and server.answers(OWNER, DATABASE):
        return server.connection_details()
    return None


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the folder's lock, which the kernel gives back however the process ends."""
    try:
        make_private(data_dir)
        descriptor = open_private(data_dir / "lock", os.O_RDWR)
    except OSError as error:
        raise EmbeddedPostgresError(f"data folder {data_dir} cannot be used: {error}") from None
    with open(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedPostgresError(
                f"data folder {data_dir} is in use by another server (pid {file.read().strip()})"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def start(
    data_dir: Path,
    settings: Mapping[str, str],
    *,
    stopping: threading.Event = _NEVER,
    again: bool = False,
) -> Server:
    """The server of a folder that the caller has locked: one that runs, or else a new process.

    One that is started `again` goes on with its log, and never begins with an empty database. Gives
    up when `stopping` is set. Raises EmbeddedPostgresError where it does not start.
    """
    cluster = data_dir.resolve() / "postgres"
    try:
        server = _adopt(cluster, stopping)
        if server is None:
            programs = installed_programs(cluster)
            if not cluster.exists():
                if again:
                    raise EmbeddedPostgresError(f"{cluster} is gone")
                initialize(programs, cluster)
            end_orphans(cluster)
            server = _launch(programs, cluster, settings, stopping, again)
    except OSError as error:
        raise EmbeddedPostgresError(f"data folder {data_dir} cannot be used: {error}") from None
    try:
        server.create_roles()
    except BaseException as error:
        server.stop()
        if isinstance(error, psycopg.Error):
            raise EmbeddedPostgresError(f"Postgres could not be set up: {line(error)}") from error
        raise
    return server


def _adopt(cluster: Path, stopping: threading.Event) -> Server | None:
    """The server that an owner left behind when it was killed, if it still answers."""
    server = Server.recorded(cluster)
    if server is None:
        return None
    if program(server.pid) not in (None, "postgres"):
        # The machine restarted, and the number now belongs to some other program. Postgres sees
        # only that there is such a process, and would refuse to start.
        (cluster / "postmaster.pid").unlink()
        return None
    return server if server.wait_for_answer(stopping) else None


def _launch(
    programs: Path,
    cluster: Path,
    settings: Mapping[str, str],
    stopping: threading.Event,
    again: bool,
) -> Server:
    settings = {**SETTINGS, **_wal_limits(cluster), **settings}
    sockets = str(socket_dir(cluster))
    log_begin = log_size(cluster) if again else 0
    child = start_process(
        programs, cluster, settings | {"unix_socket_directories": sockets}, again=again
    )
    server = Server(child.pid, sockets, settings["port"], child, log_begin)
    ready = False
    try:
        ready = server.wait_for_answer(stopping)
    finally:
        if not ready:
            server.stop()
    if not ready:
        raise EmbeddedPostgresError(f"Postgres did not start: {last_words(cluster, log_begin)}")
    return server


def _wal_limits(cluster: Path) -> dict[str, str]:
    """Its write-ahead log gets at most a tenth of the disk, and no more than elsewhere."""
    most = min(_WAL_MIB, max(_LEAST_WAL_MIB, shutil.disk_usage(cluster).total // 10 // _MIB))
    return {"max_wal_size": f"{most}MB", "min_wal_size": f"{min(most, 80)}MB"}
