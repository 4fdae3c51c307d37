"""A connection in the application's role, and a fresh tenant.

A search is a statement, so that running it needs neither services nor an event loop.
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
