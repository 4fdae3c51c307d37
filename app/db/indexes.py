"""Indexes on tables that have rows, built by migrations without locking writers out."""

from collections.abc import Sequence
from typing import Any

from alembic import op
from sqlalchemy import TextClause, text

from app.db.migrate import Timeouts

# An index that is not valid is the rest of a build that failed: it is written to, and never read.
_INVALID = text(
    "SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(quote_ident(:name))"
)


def create_index_concurrently(
    name: str, table: str, columns: Sequence[str | TextClause], **options: Any
) -> None:
    """For migrations: build an index by CREATE INDEX CONCURRENTLY; `options` are op.create_index's.

    An index of that name that is not valid is dropped first; one that is valid stays, so that a
    revision that was interrupted can run again. There are no timeouts meanwhile: a build takes long
    on a large table, and waits for all transactions that are older, but nobody waits for it.

    It commits what the revision did before. So a revision that builds indexes does nothing else.
    """
    context = op.get_context()
    with context.autocommit_block():
        _set(Timeouts(lock=0, statement=0))
        if not context.as_sql and op.get_bind().scalar(_INVALID, {"name": name}):
            op.drop_index(name, table, postgresql_concurrently=True)
        op.create_index(
            name, table, columns, postgresql_concurrently=True, if_not_exists=True, **options
        )
        _set(_usual())


def drop_index_concurrently(name: str, table: str) -> None:
    """For migrations: drop an index by DROP INDEX CONCURRENTLY, if it is there."""
    context = op.get_context()
    with context.autocommit_block():
        _set(Timeouts(lock=0, statement=0))
        op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)
        _set(_usual())


def _usual() -> Timeouts:
    """Those that migrations/env.py has set."""
    config = op.get_context().config
    assert config is not None
    timeouts: Timeouts = config.attributes["timeouts"]
    return timeouts


def _set(timeouts: Timeouts) -> None:
    for statement in timeouts.statements():
        op.execute(statement)
