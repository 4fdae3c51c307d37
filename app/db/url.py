"""Database URLs, in the forms their readers want."""

from sqlalchemy import URL, make_url


def sqlalchemy_url(url: str) -> URL:
    """The URL for SQLAlchemy: any `postgresql://` or `postgres://` one, driven by psycopg 3."""
    return make_url(url).set(drivername="postgresql+psycopg")
