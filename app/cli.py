"""The command line: `tracking serve`, `migrate`, `tenant`, `key`, `audit`, `gc` and `version`."""

import asyncio
import errno
import logging
import logging.config
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Annotated, Any, NoReturn

import sqlalchemy.exc
import typer
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app.artifacts.stores.contract import ArtifactStore
from app.artifacts.stores.factory import artifact_store
from app.commands import audit, gc, keys, tenants
from app.commands.console import CommandError, check_schema, connect, load_settings, owner_url, say
from app.config import Settings
from app.db import migrate as migrations
from app.db import roles
from app.db.embedded.postgres import EmbeddedPostgresError, embedded_postgres
from app.db.embedded.watch import watched_postgres
from app.http.connection_limit import raise_open_files
from app.http.protocol import BoundedHttp
from app.kernel.errors import TrackingError, UnavailableError
from app.kernel.private_files import make_private
from app.observability import logs
from app.observability.worker_processes import common_folder

GRACE = 10  # seconds that open requests have to finish when the service is stopped

cli = typer.Typer(
    help="A multi-tenant experiment-tracking backend.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cli.add_typer(tenants.cli, name="tenant")
cli.add_typer(keys.cli, name="key")
cli.command()(audit.audit)
cli.command()(gc.gc)


def main() -> None:
    """Run the command line. What a user can put right is one line on stderr, and exit code 1."""
    try:
        cli(prog_name="tracking")
    except (CommandError, EmbeddedPostgresError, TrackingError) as error:
        for line in str(error).splitlines():
            say(line)
        sys.exit(1)


@cli.command()
def serve(
    migrate: Annotated[
        bool | None,
        typer.Option(
            "--migrate/--no-migrate",
            help="Bring the schema up to date first. [default: only that of the embedded Postgres]",
        ),
    ] = None,
) -> None:
    """Serve the APIs, with an embedded Postgres unless TRACKING_DATABASE_URL names another."""
    settings = load_settings()
    log_by(settings)
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


@cli.command()
def migrate(
    to: Annotated[str, typer.Option(metavar="REV", help="The revision to upgrade to.")] = "head",
) -> None:
    """Bring the schema up to date, as the role in TRACKING_MIGRATION_DATABASE_URL."""
    with owner_url(load_settings()) as url:
        upgrade(url, to)
        say(f"the schema is {migrations.state(url)}")


@cli.command(hidden=True)
def revision(message: str) -> None:
    """For developers: write the migration that takes the schema to what the models say."""
    with TemporaryDirectory() as folder, embedded_postgres(Path(folder)) as empty:
        migrations.upgrade(empty.owner_url)
        migrations.revision(empty.owner_url, message)


@cli.command()
def version() -> None:
    """Print the version."""
    typer.echo(metadata.version("tracking"))


def log_by(settings: Settings) -> None:
    logging.config.dictConfig(log_configuration(settings))


def log_configuration(settings: Settings) -> dict[str, Any]:
    return logs.configuration(logs.chosen_format(settings.log_format), settings.log_level)


def stop_on_signals() -> None:
    """Make SIGTERM, and the loss of the terminal, unwind the stack as Ctrl-C does.

    Their default is to end the process on the spot, which would leave Postgres behind. While
    uvicorn runs it has handlers of its own; it raises the signal again when it has finished.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored: started with nohup
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))


def bind(host: str, port: int) -> socket.socket:
    """Take the port before anything else is started. It accepts only once uvicorn is ready."""
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
    """See that the database is there and its schema the right one, for as long as we serve."""
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
        # Workers are processes of their own, and read their settings from the environment.
        os.environ["TRACKING_DATABASE_URL"] = server.app_url
        os.environ["TRACKING_MIGRATION_DATABASE_URL"] = server.owner_url
        yield


def check_exposure(settings: Settings) -> None:
    """Refuse to let everybody in who reaches this machine, unless that is meant."""
    if settings.auth == "off" and not settings.loopback and not settings.allow_unauthenticated:
        raise CommandError(
            f"TRACKING_AUTH is off and TRACKING_HOST is {settings.host}: whoever reaches this"
            " machine could read and delete what every tenant has. Set TRACKING_AUTH=keys; or,"
            " behind a gateway that does this, TRACKING_ALLOW_UNAUTHENTICATED=true"
        )


def check_privacy(settings: Settings) -> None:
    """Keep the data folder from others on this machine, where one is used."""
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
            f"warning: other users may read {settings.data_dir}, which belongs to one of them:"
            " take their permissions away (chmod -R go-rwx), or set TRACKING_DATA_DIR"
        )


def check_role(url: str, settings: Settings) -> None:
    """Row-level security does not bind a superuser: then only this code keeps tenants apart."""
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
            " take their row-level security away. Use a role of its own (README, For operators)"
        )


def upgrade(url: str, revision: str = "head") -> None:
    if revision == "head" and migrations.state(url) in ("current", "ahead"):
        return
    say("migrating the schema")
    try:
        migrations.upgrade(url, revision)
    except migrations.MigrationError as error:
        raise CommandError(f"cannot migrate: {error}") from None
    except sqlalchemy.exc.DBAPIError as error:
        raise CommandError(f"cannot migrate: {' '.join(str(error.orig).split())}") from error


def run_server(settings: Settings, sock: socket.socket) -> None:
    raise_open_files()
    config = uvicorn.Config(
        "app.main:create_app",
        factory=True,
        workers=settings.workers,
        loop="uvloop",
        http=BoundedHttp,
        ws="none",
        lifespan="on",
        access_log=False,  # app.observability.access_log has the lines
        log_config=log_configuration(settings),
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    # Code that cannot be imported ends the command here: uvicorn would restart its workers forever.
    config.load_app()
    threading.Thread(target=announce, args=(sock, settings.host), daemon=True).start()
    if settings.workers == 1:
        uvicorn.Server(config).run(sockets=[sock])
        return
    supervisor = Multiprocess(config, sockets=[sock])
    with common_folder():
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        sys.exit(STARTUP_FAILURE)


def check_store(store: ArtifactStore) -> None:
    """Say once why artifacts can't be stored, if so; all else is served without them."""

    async def check() -> None:
        try:
            await store.check()
        except UnavailableError as error:
            say(str(error))
        finally:
            await store.close()

    asyncio.run(check())


def announce(sock: socket.socket, host: str) -> None:
    """Say once that the service is ready: when the port accepts, a worker has started."""
    address = sock.getsockname()[:2]
    while True:
        try:
            socket.create_connection(address, timeout=1).close()
            break
        except OSError:
            time.sleep(0.02)
    shown = f"[{host}]" if ":" in host else host
    say(f"ready on http://{shown}:{address[1]} (API documentation at /docs; Ctrl-C stops it)")


if __name__ == "__main__":
    main()
