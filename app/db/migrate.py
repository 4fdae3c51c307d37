"""Alembic from Python: migrate, and tell whether the schema is the one this code expects."""

from pathlib import Path
from typing import Literal

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, pool, text

from app.db.url import sqlalchemy_url

ROOT = Path(__file__).resolve().parents[2]

State = Literal["current", "behind", "ahead", "empty"]


def upgrade(url: str, revision: str = "head", *, application_role: str | None = None) -> None:
    """Migrate the database at `url` (the owner's) up to `revision`."""
    command.upgrade(_config(url, application_role), revision)


def downgrade(url: str, revision: str) -> None:
    """Migrate back down to `revision`; `base` is the empty schema."""
    command.downgrade(_config(url), revision)


def revision(url: str, message: str, *, autogenerate: bool = True) -> None:
    """Write a new migration: the difference between the models and the database at `url`."""
    command.revision(_config(url), message=message, autogenerate=autogenerate)


def head() -> str:
    """The revision that this code was written against."""
    found = ScriptDirectory.from_config(_config(None)).get_current_head()
    assert found is not None
    return found


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
    script = ScriptDirectory.from_config(_config(None))
    if current == script.get_current_head():
        return "current"
    known = {one.revision for one in script.walk_revisions()}
    return "behind" if current in known else "ahead"


def _config(url: str | None, application_role: str | None = None) -> Config:
    config = Config(ROOT / "alembic.ini")
    config.attributes["url"] = url
    config.attributes["application_role"] = application_role
    # Called from a program that has its own logging.
    config.attributes["configure_logging"] = False
    return config
