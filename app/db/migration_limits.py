"""Limits of a running migration: one at a time, a lock timeout, and who is in the way.

A statement such as ALTER TABLE queues for its lock, and whatever comes after it queues behind it:
while it waits for a long transaction, every request that uses the table waits too. So a revision
gives up after some seconds. It is rolled back, and can be run again.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

import psycopg
from alembic import op
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from app.db.migrate import Timeouts

_log = logging.getLogger("tracking.migrations")

_ADVISORY_LOCK = text("SELECT pg_try_advisory_lock(hashtext('tracking-migrate'))")
_ASK_AGAIN = 0.2  # seconds between two attempts to take it
_LOOK_AGAIN = 0.5  # seconds between two looks at what a migration waits for, at most

# What a session waits for, and who holds it. The states of other roles' sessions are not shown to
# everyone: then they are null.
_BLOCKERS = """
SELECT l.locktype, l.relation::regclass::text, b.pid, a.usename, a.application_name, a.state
FROM pg_locks l
CROSS JOIN LATERAL unnest(pg_blocking_pids(l.pid)) AS b (pid)
LEFT JOIN pg_stat_activity a ON a.pid = b.pid
WHERE l.pid = %s AND NOT l.granted
ORDER BY b.pid
"""
_WAITED_FOR = {"transactionid": "a row", "tuple": "a row", "virtualxid": "an older transaction"}


@contextmanager
def one_at_a_time(connection: Connection) -> Iterator[None]:
    """Take the lock that migrations have in common; the end of the session gives it back.

    Of two replicas that migrate at once, the second waits and then finds nothing to do. It asks
    again and again: a session that waited in Postgres would be an older transaction, whose end
    CREATE INDEX CONCURRENTLY waits for, and neither would go on.
    """
    told = False
    while not connection.scalar(_ADVISORY_LOCK):
        connection.commit()
        if not told:
            _log.warning("another migration is running: waiting for its end")
            told = True
        time.sleep(_ASK_AGAIN)
    connection.commit()
    yield


def without_statement_timeout(migrate: Callable[[], None]) -> Callable[[], None]:
    """The function of a revision, with the statement timeout that its role has by default."""

    @wraps(migrate)  # Alembic logs its name
    def unlimited() -> None:
        op.execute("SET LOCAL statement_timeout TO DEFAULT")
        migrate()

    return unlimited


class LockWatch:
    """Looks, from a connection of its own, at what a session waits for: Postgres's error does not
    say it, and afterwards it is not to be found out.

    A wait is logged once for each set of sessions that hold the lock. `blocked` is the last wait
    that was seen, as a phrase; None where there was none.
    """

    def __init__(self, url: str, pid: int, timeouts: Timeouts) -> None:
        self.blocked: str | None = None
        self._url = url
        self._pid = pid
        # Several times in the shortest wait that ends in an error.
        self._pause = min(_LOOK_AGAIN, (timeouts.lock or _LOOK_AGAIN) / 4)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "LockWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        try:
            with psycopg.connect(self._url, autocommit=True, connect_timeout=5) as connection:
                while not self._over.wait(self._pause):
                    self._note(connection.execute(_BLOCKERS, [self._pid]).fetchall())
        except psycopg.Error as error:  # the migration itself does not depend on it
            why = " ".join(str(error).split())
            _log.warning("what the migration waits for cannot be seen: %s", why)

    def _note(self, rows: list[tuple[str, str | None, int, str | None, str | None, str]]) -> None:
        if not rows:
            return
        kind, table, *_ = rows[0]
        waited_for = f"table {table}" if table else _WAITED_FOR.get(kind, kind)
        holders = ", ".join(
            f"pid {pid} ({', '.join(filter(None, about)) or 'unknown'})"
            for _, _, pid, *about in rows
        )
        blocked = f"{waited_for}, held by {holders}"
        if blocked != self.blocked:
            _log.warning("the migration waits for a lock on %s", blocked)
        self.blocked = blocked


def gave_up(error: DBAPIError) -> bool:
    """Whether a timeout has ended a statement, or somebody who cancelled it."""
    return isinstance(error.orig, psycopg.errors.LockNotAvailable | psycopg.errors.QueryCanceled)


def told(error: DBAPIError, blocked: str | None, at: str | None) -> str:
    """What an operator is told of such an error, in one line.

    `blocked` is what LockWatch saw, `at` the revision that the schema is at.
    """
    assert isinstance(error.orig, psycopg.Error)
    why = error.orig.diag.message_primary or type(error.orig).__name__
    if blocked and isinstance(error.orig, psycopg.errors.LockNotAvailable):
        why += f", waiting for a lock on {blocked}"
    statement = " ".join((error.statement or "").split())
    if len(statement) > 80:
        statement = f"{statement[:77]}..."
    where = f"at revision {at}" if at else "empty"
    return f"{why} [{statement}]; the schema stays {where}, and it is safe to run this again"
