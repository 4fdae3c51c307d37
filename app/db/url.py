"""Database URLs for SQLAlchemy."""

from sqlalchemy import URL, make_url


def sqlalchemy_url(url: str) -> URL:
    """A `postgresql://` or `postgres://` URL with the driver psycopg 3."""
    return make_url(url).set(drivername="postgresql+psycopg")
