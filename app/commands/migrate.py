"""`tracking migrate` and `downgrade`, and for developers `tracking revision`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import sqlalchemy.exc
import typer

from app.commands.console import CommandError, load_settings, owner_url, say
from app.db import migrate as migrations
from app.db.embedded import embedded_postgres
from app.db.migrate import MOST_SECONDS, MigrationError, Timeouts

_DEFAULT_TIMEOUTS = Timeouts()
LockTimeout = Annotated[
    float,
    typer.Option(
        min=0, max=MOST_SECONDS, help="Seconds to wait for each lock before giving up; 0: no limit."
    ),
]
StatementTimeout = Annotated[
    float,
    typer.Option(min=0, max=MOST_SECONDS, help="Seconds that a statement may take; 0: no limit."),
]


def migrate(
    to: Annotated[str, typer.Option(metavar="REV", help="The revision to upgrade to.")] = "head",
    lock_timeout: LockTimeout = _DEFAULT_TIMEOUTS.lock,
    statement_timeout: StatementTimeout = _DEFAULT_TIMEOUTS.statement,
) -> None:
    """Upgrade the schema, as the role in TRACKING_MIGRATION_DATABASE_URL."""
    with owner_url(load_settings()) as url:
        upgrade(url, to, Timeouts(lock_timeout, statement_timeout))
        say(f"the schema is {migrations.state(url)}")


def downgrade(
    to: Annotated[str, typer.Argument(metavar="REV", help="The revision to go back to.")],
    lock_timeout: LockTimeout = _DEFAULT_TIMEOUTS.lock,
    statement_timeout: StatementTimeout = _DEFAULT_TIMEOUTS.statement,
) -> None:
    """Take the schema back to an earlier revision. Drops what later revisions added."""
    with owner_url(load_settings()) as url, _migration_errors():
        migrations.downgrade(url, to, timeouts=Timeouts(lock_timeout, statement_timeout))


def revision(message: str) -> None:
    """For developers: write a migration for the changes to app/db/tables."""
    migrations.checkout()
    with TemporaryDirectory() as folder, embedded_postgres(Path(folder)) as empty:
        migrations.upgrade(empty.owner_url)
        migrations.revision(empty.owner_url, message)


def upgrade(url: str, revision: str = "head", timeouts: Timeouts = _DEFAULT_TIMEOUTS) -> None:
    """Upgrade the schema at `url` unless it is up to date. Raises CommandError if that fails."""
    if revision == "head" and migrations.state(url) in ("current", "ahead"):
        return
    say("migrating the schema")
    with _migration_errors():
        migrations.upgrade(url, revision, timeouts=timeouts)


@contextmanager
def _migration_errors() -> Iterator[None]:
    try:
        yield
    except MigrationError as error:
        raise CommandError(f"cannot migrate: {error}") from None
    except sqlalchemy.exc.DBAPIError as error:
        raise CommandError(f"cannot migrate: {' '.join(str(error.orig).split())}") from error
