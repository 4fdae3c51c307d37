"""`tracking serve`: checks the settings, starts or checks the database, and runs uvicorn."""

import asyncio
import errno
import logging.config
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app.artifacts.stores.contract import ArtifactStore, artifact_store
from app.commands.console import CommandError, check_schema, connect, load_settings, owner_url, say
from app.commands.migrate import upgrade
from app.config import Settings
from app.db import roles
from app.db.embedded import watched_postgres
from app.http.connection_limit import raise_open_files
from app.http.protocol import BoundedHttp
from app.kernel.errors import UnavailableError
from app.kernel.private_files import make_private
from app.observability import logs
from app.observability.worker_snapshots import snapshot_folder

GRACE_SECONDS = 10  # how long open requests may take to finish when the service is stopped


def serve(
    migrate: Annotated[
        bool | None,
        typer.Option(
            "--migrate/--no-migrate",
            help="Upgrade the schema first. [default: only with the embedded Postgres]",
        ),
    ] = None,
) -> None:
    """Serve the APIs. Starts an embedded Postgres unless TRACKING_DATABASE_URL names another."""
    settings = load_settings()
    logging.config.dictConfig(log_configuration(settings))
    check_exposure(settings)
    try:
        store = artifact_store(settings)
    except ValueError as error:
        raise CommandError(str(error)) from None
    check_privacy(settings)
    stop_on_signals()
    with (
        suppress(KeyboardInterrupt),
        bind(settings.host, settings.port) as sock,
        database(settings, migrate),
    ):
        threading.Thread(target=check_store, args=(store,), daemon=True).start()
        run_server(settings, sock)
    say("stopped")


def log_configuration(settings: Settings) -> dict[str, Any]:
    """The logging configuration of this process and of its workers."""
    return logs.configuration(logs.chosen_format(settings.log_format), settings.log_level)


def check_exposure(settings: Settings) -> None:
    """Raises CommandError if other machines could use the service without authentication."""
    if settings.auth == "off" and not settings.loopback and not settings.allow_unauthenticated:
        raise CommandError(
            f"TRACKING_AUTH is off and TRACKING_HOST is {settings.host}: anyone who reaches this"
            " machine could read and delete the data of every tenant. Set TRACKING_AUTH=keys; or,"
            " behind a gateway that authenticates, TRACKING_ALLOW_UNAUTHENTICATED=true"
        )


def check_privacy(settings: Settings) -> None:
    """Make the data folder private, if it is used. Raises CommandError if it cannot be used."""
    if settings.database_url and settings.minio_endpoint:
        return
    try:
        private = make_private(settings.data_dir)
    except OSError as error:
        raise CommandError(
            f"data folder {settings.data_dir} cannot be used: {error.strerror}"
        ) from None
    if not private:
        say(
            f"warning: {settings.data_dir} belongs to another user, and other users may read it:"
            " remove their permissions (chmod -R go-rwx), or set TRACKING_DATA_DIR"
        )


def stop_on_signals() -> None:
    """Raise KeyboardInterrupt on SIGTERM and SIGHUP too, so that the embedded Postgres is stopped.

    By default they end the process at once. While uvicorn runs it has handlers of its own; it
    raises the signal again when it has finished.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to the address, before anything else starts; uvicorn listens on it later.

    Raises CommandError if the address cannot be used.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise CommandError(
                f"port {port} on {host} is taken: stop what listens there or set TRACKING_PORT"
            ) from None
        raise CommandError(
            f"cannot listen on {host}, port {port}: {error.strerror}:"
            " set TRACKING_HOST and TRACKING_PORT"
        ) from None
    return sock


@contextmanager
def database(settings: Settings, migrate: bool | None) -> Iterator[None]:
    """Provide a database with the current schema: the one in the settings, or an embedded one."""
    if settings.database_url:
        connect("TRACKING_DATABASE_URL", settings.database_url)
        if migrate:
            with owner_url(settings) as url:
                upgrade(url)
        check_schema(settings.database_url)
        check_role(settings.database_url, settings)
        yield
        return
    data_dir = settings.data_dir
    if not (data_dir / "postgres").exists():
        say(f"creating a Postgres database in {data_dir} (the first time only)")
    with watched_postgres(data_dir, say) as server:
        if migrate is not False:
            upgrade(server.owner_url)
        check_schema(server.owner_url)
        # Workers are separate processes, which read their settings from the environment.
        os.environ["TRACKING_DATABASE_URL"] = server.app_url
        os.environ["TRACKING_MIGRATION_DATABASE_URL"] = server.owner_url
        yield


def check_role(url: str, settings: Settings) -> None:
    """Check that row-level security binds the service's role; a warning, or with keys an error."""
    state = roles.inspect(url)
    if state.bypasses:
        problem = (
            f"the role '{state.name}' in TRACKING_DATABASE_URL is a superuser or has BYPASSRLS:"
            " Postgres does not keep tenants apart for it. Use a role of its own"
            " (README, For operators)"
        )
        if settings.auth == "keys":
            raise CommandError(problem)
        say(f"warning: {problem}")
    elif state.owns:
        say(
            f"warning: the role '{state.name}' in TRACKING_DATABASE_URL owns the tables, and could"
            " disable their row-level security. Use a role of its own (README, For operators)"
        )


def run_server(settings: Settings, sock: socket.socket) -> None:
    """Run uvicorn on the socket until it is stopped, with one process or several workers."""
    raise_open_files()
    config = uvicorn.Config(
        "app.main:create_app",
        factory=True,
        workers=settings.workers,
        loop="uvloop",
        http=BoundedHttp,
        ws="none",
        lifespan="on",
        access_log=False,  # app.observability.access_log writes it
        log_config=log_configuration(settings),
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    # An import error ends the command here: uvicorn would restart failing workers forever.
    config.load_app()
    threading.Thread(target=announce, args=(sock, settings.host), daemon=True).start()
    if settings.workers == 1:
        uvicorn.Server(config).run(sockets=[sock])
        return
    supervisor = Multiprocess(config, sockets=[sock])
    with snapshot_folder():
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        sys.exit(STARTUP_FAILURE)


def check_store(store: ArtifactStore) -> None:
    """Say why artifacts cannot be stored, if so; everything else works without the store."""

    async def check() -> None:
        try:
            await store.check()
        except UnavailableError as error:
            say(str(error))
        finally:
            await store.close()

    asyncio.run(check())


def announce(sock: socket.socket, host: str) -> None:
    """Say that the service is ready once a worker accepts connections."""
    address = sock.getsockname()[:2]
    while True:
        try:
            socket.create_connection(address, timeout=1).close()
            break
        except OSError:
            time.sleep(0.02)
    shown = f"[{host}]" if ":" in host else host
    say(f"ready on http://{shown}:{address[1]} (API documentation at /docs; Ctrl-C stops it)")
