"""Migrate by Alembic, and tell whether the schema is the one this code expects.

Migrations are numbered, so that telling takes a look at their files' names: a worker that migrates
nothing does not import Alembic, which would take a tenth of its memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import create_engine, inspect, pool, text

from app.db.url import sqlalchemy_url

if TYPE_CHECKING:
    from alembic.config import Config

_PACKAGE = Path(__file__).resolve().parents[1]

MOST_SECONDS = 2_000_000  # of a timeout, which Postgres has as 31 bits of milliseconds

State = Literal["current", "behind", "ahead", "empty"]


class MigrationError(Exception):
    """What Alembic refuses to do, in its words."""


@dataclass(frozen=True)
class Timeouts:
    """Limits of a revision: seconds that it waits for each lock, and that each statement takes.

    0 is no limit. Raises ValueError for a number that Postgres does not take.
    """

    lock: float = 4
    statement: float = 5

    def __post_init__(self) -> None:
        if not all(0 <= seconds <= MOST_SECONDS for seconds in (self.lock, self.statement)):
            raise ValueError(f"a timeout is a number of seconds from 0 to {MOST_SECONDS}")

    def statements(self) -> list[str]:
        """What sets them for a session."""
        return [
            f"SET lock_timeout = {round(1000 * self.lock)}",
            f"SET statement_timeout = {round(1000 * self.statement)}",
        ]


def upgrade(
    url: str,
    revision: str = "head",
    *,
    application_role: str | None = None,
    timeouts: Timeouts | None = None,
) -> None:
    """Migrate the database at `url` (the owner's) up to `revision`.

    Each revision is a transaction of its own. Raises MigrationError for a revision that there is
    not, and for one that was ended by a timeout.
    """
    from alembic import command

    with _refusals():
        command.upgrade(_config(url, application_role, timeouts=timeouts), revision)


def downgrade(url: str, revision: str, *, timeouts: Timeouts | None = None) -> None:
    """Migrate back down to `revision`; `base` is the empty schema. Raises what `upgrade` raises."""
    from alembic import command

    with _refusals():
        command.downgrade(_config(url, timeouts=timeouts), revision)


def revision(url: str, message: str, *, autogenerate: bool = True) -> None:
    """Write a new migration: the difference between the models and the database at `url`.

    Raises MigrationError where there is no checkout to write it into.
    """
    from alembic import command

    config = _config(url, ini=checkout())
    command.revision(
        config, message=message, autogenerate=autogenerate, rev_id=f"{int(head()) + 1:04}"
    )


def checkout() -> Path:
    """The alembic.ini of the checkout that this code runs in.

    Raises MigrationError where it was installed from a wheel.
    """
    ini = folder().parent / "alembic.ini"
    if not ini.exists():
        raise MigrationError("a migration is written in a checkout of the source, and this is none")
    return ini


@cache
def folder() -> Path:
    """The migrations: an installed package has them in it, a checkout beside it."""
    inside = _PACKAGE / "migrations"
    return inside if inside.is_dir() else _PACKAGE.parent / "migrations"


def head() -> str:
    """The revision that this code was written against."""
    return max(_revisions())


def state(url: str) -> State:
    """Where the schema at `url` stands. Raises sqlalchemy.exc.OperationalError if unreachable."""
    engine = create_engine(sqlalchemy_url(url), poolclass=pool.NullPool)
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return "empty"
        current = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return compare(current)


def compare(current: str | None) -> State:
    """The state of a schema whose `alembic_version` says `current`."""
    if current is None:
        return "empty"
    if current == head():
        return "current"
    return "behind" if current in _revisions() else "ahead"


@cache
def _revisions() -> frozenset[str]:
    files = (folder() / "versions").glob("*.py")
    return frozenset(file.name.partition("_")[0] for file in files)


@contextmanager
def _refusals() -> Iterator[None]:
    from alembic.util import CommandError

    try:
        yield
    except CommandError as error:
        raise MigrationError(str(error)) from error


def _config(
    url: str | None,
    application_role: str | None = None,
    *,
    timeouts: Timeouts | None = None,
    ini: Path | None = None,
) -> "Config":
    from alembic.config import Config

    config = Config(ini)
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    config.attributes["url"] = url
    config.attributes["application_role"] = application_role
    config.attributes["timeouts"] = timeouts
    # Called from a program that has its own logging.
    config.attributes["configure_logging"] = False
    return config
