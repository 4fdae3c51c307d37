"""A connection to Postgres as the application has it, and a tenant with some of everything.

Searches are only statements: running them needs neither the services nor an event loop.
"""

from collections.abc import Iterator
from typing import Protocol

import pytest
from sqlalchemy import Connection, create_engine

from app.db.url import sqlalchemy_url
from tests.integration.search.search_seed import Seed, new_tenant


class HasAppUrl(Protocol):
    app_url: str


@pytest.fixture(scope="session")
def connection(postgres: HasAppUrl) -> Iterator[Connection]:
    engine = create_engine(sqlalchemy_url(postgres.app_url))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def seed(connection: Connection) -> Seed:
    """A fresh tenant to fill."""
    return Seed(connection, new_tenant(connection))
