"""The Postgres of a server."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from app.db import migrate
from app.db.embedded import embedded_postgres
from app.db.embedded.server import OWNER, SUPERUSER, EmbeddedPostgres

# What a server for work is given. Durability is as it comes: fsync and synchronous_commit are on.
SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "max_connections": "200",
}


@dataclass(frozen=True)
class Postgres:
    """`server` has the URLs of our own database, which is migrated."""

    server: EmbeddedPostgres

    def url(self, database: str, user: str = OWNER) -> str:
        where = urlsplit(self.server.owner_url)
        return f"postgresql://{user}@/{database}?{where.query}"

    def connect(self, database: str) -> "psycopg.Connection[tuple[object, ...]]":
        """As superuser, who sees the rows of all tenants."""
        return psycopg.connect(self.url(database, SUPERUSER), autocommit=True)

    def create_database(self, name: str) -> None:
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name} OWNER {OWNER}")

    def vacuum(self, database: str) -> None:
        """What autovacuum would have done in an hour, so that no server is measured before it."""
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
