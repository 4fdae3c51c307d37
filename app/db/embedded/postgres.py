"""A real Postgres for development and tests, run from the programs of a wheel.

A data folder is one server. The process that holds the lock `data_dir/lock` owns it: it starts the
server, or adopts the one that a killed owner left running, and stops it at the end. Clients connect
through a Unix socket in a folder that only its user may enter; nothing listens on TCP.
`app.db.embedded.watch` restarts a server that ends. See docs/decisions/0001-embedded-postgres.md.
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
    failure_reason,
    initialize,
    installed_programs,
    log_size,
    one_line,
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
    "port": "5432",  # a part of the socket's file name; nothing listens on it
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "wal_level": "minimal",  # there are no replicas
    "max_wal_senders": "0",
    "jit": "off",  # compiling costs more than it saves on short statements
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}

_MIB = 1 << 20
_MAX_WAL_MIB = 1024  # Postgres's default of max_wal_size
_MIN_WAL_MIB = 64

_NEVER_SET = threading.Event()


@contextmanager
def embedded_postgres(
    data_dir: Path, *, settings: Mapping[str, str] = {}
) -> Iterator[EmbeddedPostgres]:
    """Run the server of `data_dir` for as long as the context lasts.

    `settings` are Postgres settings that override the defaults. An adopted server keeps those that
    it was started with. Raises EmbeddedPostgresError if another process owns the server, or if it
    cannot start.
    """
    with locked(data_dir):
        server = start(data_dir, settings)
        try:
            yield server.connection_details()
        finally:
            server.stop()


def running(data_dir: Path) -> EmbeddedPostgres | None:
    """The running server of `data_dir`, owned by any process; None if none answers."""
    server = Server.recorded(data_dir.resolve() / "postgres")
    if server and server.answers(OWNER, DATABASE):
        return server.connection_details()
    return None


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the folder's lock; the kernel releases it when the process ends.

    Raises EmbeddedPostgresError if another process holds it, or the folder cannot be used.
    """
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
    stopping: threading.Event = _NEVER_SET,
    again: bool = False,
) -> Server:
    """The server of a folder that the caller has locked: adopted if it runs, else started.

    With `again` it is a restart: the log is appended to, and a missing cluster is an error rather
    than created. Setting `stopping` aborts the start. Raises EmbeddedPostgresError if the server
    does not start.
    """
    cluster = data_dir.resolve() / "postgres"
    try:
        server = _adopt(cluster, stopping)
        if server is None:
            programs = installed_programs(cluster)
            if not cluster.exists():
                if again:
                    raise EmbeddedPostgresError(f"{cluster} does not exist any more")
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
            raise EmbeddedPostgresError(
                f"Postgres could not be set up: {one_line(error)}"
            ) from error
        raise
    return server


def _adopt(cluster: Path, stopping: threading.Event) -> Server | None:
    """The server that a killed owner left running; None if it does not answer."""
    server = Server.recorded(cluster)
    if server is None:
        return None
    if program(server.pid) not in (None, "postgres"):
        # The machine was restarted, and the process id belongs to another program. Postgres only
        # checks that there is such a process, and would refuse to start.
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
        raise EmbeddedPostgresError(f"Postgres did not start: {failure_reason(cluster, log_begin)}")
    return server


def _wal_limits(cluster: Path) -> dict[str, str]:
    """Limits of the write-ahead log: a tenth of the disk, at most Postgres's default."""
    limit = min(_MAX_WAL_MIB, max(_MIN_WAL_MIB, shutil.disk_usage(cluster).total // 10 // _MIB))
    return {"max_wal_size": f"{limit}MB", "min_wal_size": f"{min(limit, 80)}MB"}
