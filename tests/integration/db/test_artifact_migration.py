"""Migration of artifacts from before object ids and counted bytes."""

import psycopg

from app.db import migrate
from tests.support.postgres_servers import PostgresServer


def test_counts_what_was_there(empty_database: PostgresServer) -> None:
    url = empty_database.owner_url
    migrate.upgrade(url, "0008")
    migrate.downgrade(url, "0008-1")
    tenants = []
    for number in (1, 2):
        with psycopg.connect(empty_database.app_url) as connection:
            row = connection.execute("SELECT create_tenant(%s)", [f"t{number}"]).fetchone()
            assert row is not None
            tenants.append(row[0])
            connection.execute(
                "INSERT INTO artifacts (tenant_id, path, size, etag, content_type, updated_time)"
                " SELECT %s, 'p' || i, 10, 'e', 'text/plain', 1 FROM generate_series(1, %s) i",
                [row[0], 5 * number],
            )
    migrate.upgrade(url)
    for tenant, used in zip(tenants, (50, 100), strict=True):
        with psycopg.connect(empty_database.app_url) as connection:
            connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(tenant)])
            assert connection.execute("SELECT sum(bytes) FROM artifact_usage").fetchone() == (used,)
            assert connection.execute(
                "SELECT count(*) FROM artifacts WHERE object_id IS NULL AND sha256 IS NULL"
            ).fetchone() == (used // 10,)
    migrate.downgrade(url, "base")
