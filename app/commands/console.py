"""Helpers of the commands: messages, settings, and the URL of the database."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
import typer
from pydantic import ValidationError

from app.config import Settings
from app.db import migrate as migrations
from app.db.embedded import EmbeddedPostgres, embedded_postgres, running
from app.observability import logs


class CommandError(Exception):
    """The reason why a command cannot run, in words for its user."""


def say(line: str) -> None:
    """Print a message on stderr, as a line of the log if that is JSON."""
    if isinstance(formatter := logs.formatter(), logs.JsonFormatter):
        record = logging.LogRecord("tracking", logging.INFO, __file__, 0, line, None, None)
        shown = formatter.format(record)
    else:
        shown = f"tracking: {line}"
    with suppress(OSError):  # the terminal may be closed
        typer.echo(shown, err=True)


def load_settings() -> Settings:
    """The settings from the environment. Raises CommandError with a line for each invalid one."""
    try:
        return Settings()
    except ValidationError as error:
        # Without the values: a database URL contains a password.
        raise CommandError(
            "\n".join(
                f"TRACKING_{'_'.join(map(str, problem['loc'])).upper()}:"
                f" {problem['msg'].removeprefix('Value error, ')}"
                for problem in error.errors()
            )
        ) from None


@contextmanager
def owner_url(settings: Settings) -> Iterator[str]:
    """The URL for the schema's owner, of the database in the settings or of the embedded one."""
    if settings.owner_url:
        variable = "MIGRATION_DATABASE_URL" if settings.migration_database_url else "DATABASE_URL"
        connect(f"TRACKING_{variable}", settings.owner_url)
        yield settings.owner_url
    else:
        with embedded(settings) as server:
            yield server.owner_url


@contextmanager
def application(settings: Settings) -> Iterator[Settings]:
    """The settings with a `database_url`, for the application's role, whose schema is current."""
    if settings.database_url:
        connect("TRACKING_DATABASE_URL", settings.database_url)
        check_schema(settings.database_url)
        yield settings
    else:
        with embedded(settings) as server:
            check_schema(server.app_url)
            yield settings.model_copy(update={"database_url": server.app_url})


@contextmanager
def embedded(settings: Settings) -> Iterator[EmbeddedPostgres]:
    """The embedded Postgres: the one that runs, or one that is started for the context."""
    if server := running(settings.data_dir):
        yield server
    else:
        with embedded_postgres(settings.data_dir) as own:
            yield own


def connect(variable: str, url: str) -> None:
    """Check that the database answers. Raises CommandError, without the URL's password."""
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError as error:
        reason = " ".join(str(error).split())
        raise CommandError(f"cannot connect to the database in {variable}: {reason}") from None
    except psycopg.Error:
        raise CommandError(f"{variable} is not a valid postgresql:// URL") from None


def check_schema(url: str) -> None:
    """Raises CommandError unless the schema is the one that this version needs."""
    match migrations.state(url):
        case "behind" | "empty" as state:
            raise CommandError(f"the database's schema is {state}, run: tracking migrate")
        case "ahead":
            raise CommandError(
                "the database's schema is ahead of this version of the service: install the"
                " version that migrated it, or a later one"
            )
