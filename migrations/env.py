"""Alembic's environment: which database, which tables, and what the application role may do."""

import logging
from logging.config import dictConfig

from alembic import context
from sqlalchemy import create_engine, pool, text

from app.config import Settings
from app.db import rls
from app.db.tables import metadata
from app.db.url import sqlalchemy_url
from app.observability import logs

config = context.config


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
    if context.is_offline_mode():
        context.configure(url=sqlalchemy_url(url), target_metadata=metadata, literal_binds=True)
        with context.begin_transaction():
            context.run_migrations()
        return
    engine = create_engine(sqlalchemy_url(url), poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(
            connection=connection, target_metadata=metadata, compare_server_default=True
        )
        with context.begin_transaction():
            # Of two operators, or two replicas, that migrate at once, the second waits and then
            # finds nothing to do.
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('tracking-migrate'))"))
            context.run_migrations()
            rls.grant(connection, application_role)


run()
