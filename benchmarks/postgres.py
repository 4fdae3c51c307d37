"""The embedded Postgres that a measured server uses."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from app.db import migrate
from app.db.embedded import embedded_postgres
from app.db.embedded.server import OWNER, SUPERUSER, EmbeddedPostgres

# Sized for a production server. Durability is the default: fsync and synchronous_commit are on.
SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "max_connections": "200",
}


@dataclass(frozen=True)
class Postgres:
    """A running Postgres. `server` has the URLs of our service's database, which is migrated."""

    server: EmbeddedPostgres

    def url(self, database: str, user: str = OWNER) -> str:
        where = urlsplit(self.server.owner_url)
        return f"postgresql://{user}@/{database}?{where.query}"

    def connect(self, database: str) -> "psycopg.Connection[tuple[object, ...]]":
        """Connects as superuser, which bypasses row-level security."""
        return psycopg.connect(self.url(database, SUPERUSER), autocommit=True)

    def create_database(self, name: str) -> None:
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name} OWNER {OWNER}")

    def vacuum(self, database: str) -> None:
        """Vacuums and analyzes, so that no server is measured before autovacuum has run."""
        with self.connect(database) as connection:
            connection.execute("VACUUM (ANALYZE)")

    def version(self) -> str:
        with self.connect("postgres") as connection:
            return str(connection.info.parameter_status("server_version"))


@contextmanager
def running(folder: Path) -> Iterator[Postgres]:
    with embedded_postgres(folder, settings=SETTINGS) as server:
        migrate.upgrade(server.owner_url)
        yield Postgres(server)
