"""What the commands share: words on stderr, the settings, and the schema's owner."""

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
    """What keeps a command from being carried out, in words for whoever typed it."""


def say(line: str) -> None:
    """Tell whoever started the command; where a service's log is JSON, in a line of it."""
    if isinstance(lines := logs.formatter(), logs.JsonFormatter):
        record = logging.LogRecord("tracking", logging.INFO, __file__, 0, line, None, None)
        shown = lines.format(record)
    else:
        shown = f"tracking: {line}"
    with suppress(OSError):  # the terminal may be gone
        typer.echo(shown, err=True)


def load_settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        # The value itself is left out: a database URL has a password in it.
        raise CommandError(
            "\n".join(
                f"TRACKING_{'_'.join(map(str, one['loc'])).upper()}:"
                f" {one['msg'].removeprefix('Value error, ')}"
                for one in error.errors()
            )
        ) from None


@contextmanager
def owner_url(settings: Settings) -> Iterator[str]:
    """The URL of the schema's owner: an outside database's, or the embedded one's."""
    if settings.owner_url:
        given = "MIGRATION_DATABASE_URL" if settings.migration_database_url else "DATABASE_URL"
        connect(f"TRACKING_{given}", settings.owner_url)
        yield settings.owner_url
    else:
        with embedded(settings) as server:
            yield server.owner_url


@contextmanager
def application(settings: Settings) -> Iterator[Settings]:
    """The settings, with the URL of the application's role in a database whose schema fits."""
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
    """The embedded Postgres, used as it runs, or else started for as long as it is needed."""
    if server := running(settings.data_dir):
        yield server
    else:
        with embedded_postgres(settings.data_dir) as own:
            yield own


def connect(variable: str, url: str) -> None:
    """See that the database answers. No message shows the URL, which has a password in it."""
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError as error:
        why = " ".join(str(error).split())
        raise CommandError(f"cannot connect to the database in {variable}: {why}") from None
    except psycopg.Error:
        raise CommandError(f"{variable} is not a valid postgresql:// URL") from None


def check_schema(url: str) -> None:
    match migrations.state(url):
        case "behind" | "empty" as state:
            raise CommandError(f"the database's schema is {state}, run: tracking migrate")
        case "ahead":
            raise CommandError(
                "the database's schema is ahead of this version of the service: install the"
                " version that migrated it, or a later one"
            )
