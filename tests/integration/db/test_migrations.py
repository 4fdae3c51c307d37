"""Migrations, on the oldest supported Postgres and on the embedded one."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import ForeignKeyConstraint, Table, UniqueConstraint, create_engine

from app.db import migrate
from app.db.tables import TenantOwned, metadata
from app.db.url import sqlalchemy_url
from tests.conftest import ROOT
from tests.support.postgres_servers import PostgresServer

TENANT_TABLES = [table for table in metadata.sorted_tables if table.name != "tenants"]


@pytest.fixture
def migrated(empty_database: PostgresServer) -> Iterator[PostgresServer]:
    migrate.upgrade(empty_database.owner_url)
    yield empty_database
    migrate.downgrade(empty_database.owner_url, "base")


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
    return {name for (name,) in rows} - {"alembic_version"}


class TestMigrations:
    def test_up_down_and_up_again(self, empty_database: PostgresServer) -> None:
        url = empty_database.owner_url
        migrate.upgrade(url)
        everything = tables(url)
        assert everything == set(metadata.tables)
        migrate.downgrade(url, "base")
        assert tables(url) == set()
        with psycopg.connect(url) as connection:
            left = connection.execute(
                "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            ).fetchall()
        assert left == []
        migrate.upgrade(url)
        assert tables(url) == everything
        migrate.downgrade(url, "base")

    def test_models_and_migrations_agree(self, migrated: PostgresServer) -> None:
        engine = create_engine(sqlalchemy_url(migrated.owner_url))
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection, opts={"compare_type": True, "compare_server_default": True}
            )
            assert compare_metadata(context, metadata) == []
        engine.dispose()

    def test_alembic_as_an_operator_runs_it(self, empty_database: PostgresServer) -> None:
        environment = os.environ | {
            "TRACKING_MIGRATION_DATABASE_URL": empty_database.owner_url,
            "TRACKING_DATABASE_URL": empty_database.app_url,
        }
        for arguments in (["upgrade", "head"], ["check"], ["downgrade", "base"]):
            done = subprocess.run(
                [sys.executable, "-m", "alembic", *arguments],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
        assert tables(empty_database.owner_url) == set()

    def test_files_are_named_by_the_numbers_of_their_revisions(self) -> None:
        """By which a worker knows them; each is one more than what it follows."""
        script = ScriptDirectory.from_config(Config(ROOT / "alembic.ini"))
        assert script.get_current_head() == migrate.head()
        revisions = list(script.walk_revisions())
        for one in revisions:
            assert Path(one.path).name.startswith(f"{one.revision}_")
        numbers = [int(one.revision) for one in reversed(revisions)]
        assert numbers == list(range(1, len(numbers) + 1))

    def test_two_at_once(self, empty_database: PostgresServer) -> None:
        """As when several replicas start on an empty database."""
        url = empty_database.owner_url
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "alembic", "upgrade", "head"],
                cwd=ROOT,
                env=os.environ | {"TRACKING_MIGRATION_DATABASE_URL": url},
                stderr=subprocess.DEVNULL,
            )
            for _ in range(3)
        ]
        assert [process.wait(60) for process in processes] == [0, 0, 0]
        assert migrate.state(url) == "current"
        migrate.downgrade(url, "base")

    def test_beside_what_others_put_into_the_schema(self, empty_database: PostgresServer) -> None:
        """As an extension does that a superuser installed there."""
        with psycopg.connect(empty_database.superuser_url, autocommit=True) as connection:
            connection.execute("CREATE TABLE public.theirs ()")
            connection.execute(
                "CREATE FUNCTION public.their_function() RETURNS int LANGUAGE sql AS 'SELECT 1'"
            )
            connection.execute("REVOKE ALL ON FUNCTION public.their_function FROM PUBLIC")
            try:
                migrate.upgrade(empty_database.owner_url)
                with psycopg.connect(empty_database.app_url) as application:
                    assert application.execute("SELECT create_tenant('t')").fetchone()
                migrate.downgrade(empty_database.owner_url, "base")
            finally:
                connection.execute("DROP TABLE public.theirs")
                connection.execute("DROP FUNCTION public.their_function")

    def test_state(self, empty_database: PostgresServer) -> None:
        url = empty_database.owner_url
        migrate.upgrade(url)
        assert migrate.state(url) == "current"
        with psycopg.connect(url) as connection:
            connection.execute("UPDATE alembic_version SET version_num = 'from-the-future'")
        assert migrate.state(url) == "ahead"
        with psycopg.connect(url) as connection:
            connection.execute("UPDATE alembic_version SET version_num = %s", [migrate.head()])
        migrate.downgrade(url, "base")
        assert migrate.state(url) == "empty"


class TestTenantFirst:
    """What lets the schema be distributed by tenant."""

    def test_every_table_but_the_directory_is_a_tenants(self) -> None:
        owned = {
            mapper.class_.__tablename__
            for mapper in TenantOwned.__subclasses__()[0].registry.mappers
            if issubclass(mapper.class_, TenantOwned)
        }
        assert owned == {table.name for table in TENANT_TABLES}

    @pytest.mark.parametrize("table", TENANT_TABLES, ids=lambda table: table.name)
    def test_the_tenant_leads_every_key(self, table: Table) -> None:
        assert next(iter(table.columns)).name == "tenant_id"
        # Points have an index and no key: app/db/tables/metrics.py says why.
        if table.name != "metric_points":
            assert table.primary_key.columns[0].name == "tenant_id"
        for constraint in table.constraints:
            if isinstance(constraint, UniqueConstraint | ForeignKeyConstraint):
                assert next(iter(constraint.columns)).name == "tenant_id", constraint
        for index in table.indexes:
            assert next(iter(index.columns)).name == "tenant_id", index


class TestRowLevelSecurity:
    def test_every_tenant_table_is_protected_even_from_its_owner(
        self, migrated: PostgresServer
    ) -> None:
        with psycopg.connect(migrated.owner_url) as connection:
            protected = connection.execute(
                """
                SELECT c.relname FROM pg_class c JOIN pg_policy p ON p.polrelid = c.oid
                WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
                    AND c.relrowsecurity AND c.relforcerowsecurity
                    AND p.polqual IS NOT NULL AND p.polwithcheck IS NOT NULL
                """
            ).fetchall()
        assert {name for (name,) in protected} == {table.name for table in TENANT_TABLES}

    def test_the_application_role_owns_nothing_and_bypasses_nothing(
        self, migrated: PostgresServer
    ) -> None:
        with psycopg.connect(migrated.app_url) as connection:
            owned = connection.execute(
                "SELECT count(*) FROM pg_class WHERE relowner = current_user::regrole"
            ).fetchone()
            powers = connection.execute(
                "SELECT rolsuper, rolbypassrls, rolcreaterole FROM pg_roles"
                " WHERE rolname = current_user"
            ).fetchone()
        assert owned == (0,)
        assert powers == (False, False, False)

    @pytest.mark.parametrize("url", ["app_url", "owner_url"])
    def test_raw_sql_sees_one_tenant_only(self, migrated: PostgresServer, url: str) -> None:
        ours, theirs = _two_tenants(migrated.app_url)
        with psycopg.connect(getattr(migrated, url)) as connection:
            connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(ours)])
            for table in TENANT_TABLES:
                seen = connection.execute(
                    sql.SQL("SELECT DISTINCT tenant_id FROM {}").format(sql.Identifier(table.name))
                ).fetchall()
                assert seen in ([], [(ours,)]), table.name
            seen = connection.execute("SELECT name FROM experiments").fetchall()
            assert seen == [("Default",)]
            gone = connection.execute(
                "DELETE FROM experiments WHERE tenant_id = %s", [theirs]
            ).rowcount
            changed = connection.execute(
                "UPDATE experiments SET name = 'taken' WHERE tenant_id = %s", [theirs]
            ).rowcount
            assert (gone, changed) == (0, 0)

    def test_no_row_can_be_written_for_another_tenant(self, migrated: PostgresServer) -> None:
        ours, theirs = _two_tenants(migrated.app_url)
        with psycopg.connect(migrated.app_url) as connection:
            connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(ours)])
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                connection.execute(
                    "INSERT INTO experiments VALUES (%s, 7, 'planted', NULL, 0, 0)", [theirs]
                )

    @pytest.mark.parametrize("setting", ["", None])
    def test_without_a_tenant_nothing_is_seen(
        self, migrated: PostgresServer, setting: str | None
    ) -> None:
        _two_tenants(migrated.app_url)
        with psycopg.connect(migrated.app_url) as connection:
            if setting is not None:
                connection.execute("SELECT set_config('app.tenant_id', %s, true)", [setting])
            assert connection.execute("SELECT count(*) FROM experiments").fetchone() == (0,)

    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO tenants (slug) VALUES ('forged')",
            "UPDATE tenants SET slug = 'forged'",
            "DELETE FROM tenants",
            "UPDATE alembic_version SET version_num = 'forged'",
            "ALTER TABLE experiments DISABLE ROW LEVEL SECURITY",
            "DROP POLICY tenant_isolation ON experiments",
            "TRUNCATE experiments",
        ],
    )
    def test_the_application_role_cannot(self, migrated: PostgresServer, statement: str) -> None:
        with (
            psycopg.connect(migrated.app_url) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(statement)


def _two_tenants(url: str) -> tuple[int, int]:
    """Two fresh tenants; each has its `Default` experiment."""
    ids = []
    for _ in range(2):
        with psycopg.connect(url) as connection:
            row = connection.execute(
                "SELECT create_tenant('t' || (SELECT count(*) FROM tenants))"
            ).fetchone()
            assert row is not None
            ids.append(row[0])
    return ids[0], ids[1]
