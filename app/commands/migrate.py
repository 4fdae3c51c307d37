"""`tracking migrate`, and for developers `tracking revision`."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import sqlalchemy.exc
import typer

from app.commands.console import CommandError, load_settings, owner_url, say
from app.db import migrate as migrations
from app.db.embedded import embedded_postgres


def migrate(
    to: Annotated[str, typer.Option(metavar="REV", help="The revision to upgrade to.")] = "head",
) -> None:
    """Upgrade the schema, as the role in TRACKING_MIGRATION_DATABASE_URL."""
    with owner_url(load_settings()) as url:
        upgrade(url, to)
        say(f"the schema is {migrations.state(url)}")


def revision(message: str) -> None:
    """For developers: write a migration for the changes to app/db/tables."""
    with TemporaryDirectory() as folder, embedded_postgres(Path(folder)) as empty:
        migrations.upgrade(empty.owner_url)
        migrations.revision(empty.owner_url, message)


def upgrade(url: str, revision: str = "head") -> None:
    """Upgrade the schema at `url` unless it is up to date. Raises CommandError if that fails."""
    if revision == "head" and migrations.state(url) in ("current", "ahead"):
        return
    say("migrating the schema")
    try:
        migrations.upgrade(url, revision)
    except migrations.MigrationError as error:
        raise CommandError(f"cannot migrate: {error}") from None
    except sqlalchemy.exc.DBAPIError as error:
        raise CommandError(f"cannot migrate: {' '.join(str(error.orig).split())}") from error
