"""The embedded Postgres: a real server for development and tests, run from a wheel's programs."""

from app.db.embedded.postgres import embedded_postgres, running
from app.db.embedded.server import EmbeddedPostgres, EmbeddedPostgresError
from app.db.embedded.watch import watched_postgres

__all__ = [
    "EmbeddedPostgres",
    "EmbeddedPostgresError",
    "embedded_postgres",
    "running",
    "watched_postgres",
]
