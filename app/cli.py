"""Entry point of the command line, `tracking`; the commands are in `app.commands`."""

import sys
from importlib import metadata

import typer

from app.commands import keys, tenants
from app.commands.audit import audit
from app.commands.console import CommandError, say
from app.commands.gc import gc
from app.commands.migrate import downgrade, migrate, revision
from app.commands.serve import serve
from app.db.embedded import EmbeddedPostgresError
from app.db.migrate import MigrationError
from app.kernel.errors import TrackingError

cli = typer.Typer(
    help="A multi-tenant experiment-tracking backend.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run a command. Errors that the user can correct are lines on stderr, with exit code 1."""
    try:
        cli(prog_name="tracking")
    except (CommandError, EmbeddedPostgresError, TrackingError, MigrationError) as error:
        for line in str(error).splitlines():
            say(line)
        sys.exit(1)


def version() -> None:
    """Print the version."""
    typer.echo(metadata.version("tracking"))


cli.command()(serve)
cli.command()(migrate)
cli.command()(downgrade)
cli.command(hidden=True)(revision)
cli.add_typer(tenants.cli, name="tenant")
cli.add_typer(keys.cli, name="key")
cli.command()(audit)
cli.command()(gc)
cli.command()(version)

if __name__ == "__main__":
    main()
