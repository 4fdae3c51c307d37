"""The timeouts that each revision runs under."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from app.db import migrate
from tests.support.postgres_servers import PostgresServer

SHOWN = "SELECT current_setting('lock_timeout'), current_setting('statement_timeout')"
REVISIONS = [f"{number:04}" for number in range(1, int(migrate.head()) + 1)]
# Their statements take longer the more rows there are, and were released before the timeouts.
UNLIMITED = {"0004", "0007", "0008"}


@contextmanager
def limits() -> Iterator[set[tuple[str, str]]]:
    """The lock and statement timeouts under which tables are changed and filled meanwhile."""
    seen: set[tuple[str, str]] = set()

    def look(_: Any, cursor: Any, statement: str, *__: Any) -> None:
        if statement.split()[0] in ("ALTER", "CREATE", "DROP", "INSERT", "UPDATE", "DELETE"):
            seen.add(cursor.connection.execute(SHOWN).fetchone())

    event.listen(Engine, "before_cursor_execute", look)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", look)


@pytest.fixture
def url(empty_database: PostgresServer) -> Iterator[str]:
    """A database whose owner has a statement timeout by default."""
    alter = "ALTER ROLE tracking_owner SET statement_timeout"
    with psycopg.connect(empty_database.superuser_url, autocommit=True) as connection:
        connection.execute(f"{alter} = '77s'")
        yield empty_database.owner_url
        connection.execute(f"{alter} TO DEFAULT")
    migrate.downgrade(empty_database.owner_url, "base")


def test_of_each_revision(url: str) -> None:
    migrate.upgrade(url, REVISIONS[0])  # which makes Alembic's table first
    found = {}
    for number in REVISIONS[1:]:
        with limits() as found[number]:
            migrate.upgrade(url, number)
    for before, number in zip(REVISIONS[-2::-1], REVISIONS[:0:-1], strict=True):
        with limits() as down:
            migrate.downgrade(url, before)
        found[number] |= down
    assert found == {
        number: {("4s", "77s" if number in UNLIMITED else "5s")} for number in REVISIONS[1:]
    }


def test_that_an_operator_asks_for(url: str) -> None:
    with limits() as found:
        migrate.upgrade(url, "0003", timeouts=migrate.Timeouts(lock=60, statement=0))
    assert found == {("1min", "0")}


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan")])
def test_that_there_cannot_be(seconds: float) -> None:
    with pytest.raises(ValueError, match="a number of seconds from 0 to"):
        migrate.Timeouts(lock=seconds)
