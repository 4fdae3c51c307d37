"""Alembic's environment: which database, which tables, and what the application role may do."""

import logging
from collections.abc import Collection
from logging.config import dictConfig
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.util import CommandError
from sqlalchemy import create_engine, pool, text
from sqlalchemy.exc import DBAPIError

from app.config import Settings
from app.db import migration_limits, rls
from app.db.migrate import Timeouts
from app.db.tables import metadata
from app.db.url import sqlalchemy_url
from app.observability import logs

config = context.config

# They were released before there were timeouts, and have statements that take longer the more rows
# there are: they fill a column or build an index, and keep writers out meanwhile. They have the
# statement timeout of the role, which is none by default, as they had then.
WITHOUT_STATEMENT_TIMEOUT = ("0004", "0007", "0008")


def run() -> None:
    settings = Settings()
    if config.attributes.get("configure_logging", True):  # the alembic command is what runs
        format = logs.chosen_format(settings.log_format)
        dictConfig(logs.configuration(format, settings.log_level))
        logging.getLogger("alembic").setLevel(logging.INFO)
    url = config.attributes.get("url") or settings.owner_url
    if not url:
        raise SystemExit(
            "set TRACKING_MIGRATION_DATABASE_URL (or TRACKING_DATABASE_URL) to the database to"
            " migrate; `tracking migrate` migrates the embedded one"
        )
    application_role = config.attributes.get("application_role") or rls.application_role(
        settings.database_url
    )
    # Where a revision that changes them for a while finds what to return to.
    timeouts = config.attributes["timeouts"] = config.attributes.get("timeouts") or given_timeouts()
    for number in WITHOUT_STATEMENT_TIMEOUT:
        module = context.script.get_revision(number).module
        for name in ("upgrade", "downgrade"):
            migrate = getattr(module, name)
            setattr(module, name, migration_limits.without_statement_timeout(migrate))
    if context.is_offline_mode():
        write(url, timeouts)
    else:
        migrate_online(url, timeouts, application_role)


def given_timeouts() -> Timeouts:
    """Those of `alembic -x lock_timeout=10 -x statement_timeout=60 upgrade head`, in seconds."""
    given = context.get_x_argument(as_dictionary=True)
    usual = Timeouts()
    try:
        return Timeouts(
            float(given.get("lock_timeout", usual.lock)),
            float(given.get("statement_timeout", usual.statement)),
        )
    except ValueError as error:
        raise CommandError(f"lock_timeout and statement_timeout: {error}") from None


def write(url: str, timeouts: Timeouts) -> None:
    """Write the SQL of the migrations to stdout, for `alembic upgrade --sql`."""
    context.configure(
        url=sqlalchemy_url(url),
        target_metadata=metadata,
        literal_binds=True,
        transaction_per_migration=True,
    )
    for statement in timeouts.statements():
        context.execute(statement)
    context.run_migrations()


def migrate_online(url: str, timeouts: Timeouts, application_role: str) -> None:
    """Run the migrations, each in a transaction that also grants what is new to the application."""

    def grant(
        ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: object
    ) -> None:
        assert ctx.connection is not None
        rls.grant(ctx.connection, application_role)

    engine = create_engine(sqlalchemy_url(url), poolclass=pool.NullPool)
    with engine.connect() as connection, migration_limits.one_at_a_time(connection):
        for statement in timeouts.statements():
            connection.execute(text(statement))
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=metadata,
            compare_server_default=True,
            transaction_per_migration=True,
            on_version_apply=grant,
        )
        with migration_limits.LockWatch(url, pid, timeouts) as watch:
            try:
                context.run_migrations()
                # Also where there was nothing to migrate: the role may be a new one.
                rls.grant(connection, application_role)
                connection.commit()
            except DBAPIError as error:
                if not migration_limits.gave_up(error):
                    raise
                connection.rollback()
                at = context.get_context().get_current_revision()
                raise CommandError(migration_limits.told(error, watch.blocked, at)) from error


run()
