"""Declarative base of the tables, names of constraints, and keys that begin with the tenant."""

from collections.abc import Sequence
from typing import cast

from sqlalchemy import (
    BigInteger,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMES = {
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "fk": "%(table_name)s_%(referred_table_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}


class Base(DeclarativeBase):
    """Declarative base. Times are epoch milliseconds, as in MLflow's API."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {int: BigInteger}  # noqa: RUF012 (SQLAlchemy reads it from the class)


def table_of(model: type[Base]) -> Table:
    """The model's table, for statements of SQLAlchemy Core."""
    return cast(Table, model.__table__)


class TenantOwned:
    """Mixin of tables with rows of tenants: the first column of the table and of its keys."""

    tenant_id: Mapped[int] = mapped_column(Integer, sort_order=-100)


def key(*columns: str) -> PrimaryKeyConstraint:
    """The primary key: the tenant, then `columns`."""
    return PrimaryKeyConstraint("tenant_id", *columns)


def unique(*columns: str) -> UniqueConstraint:
    """A unique constraint on `columns` within a tenant."""
    return UniqueConstraint("tenant_id", *columns)


def belongs_to_tenant() -> ForeignKeyConstraint:
    """The foreign key to the tenant, for tables without another parent."""
    return ForeignKeyConstraint(["tenant_id"], ["tenants.id"])


def part_of(table: str, *columns: str, referred: Sequence[str] = ()) -> ForeignKeyConstraint:
    """A foreign key within a tenant; the row is deleted with its parent.

    `referred` are the parent's columns, where their names differ.
    """
    return ForeignKeyConstraint(
        ["tenant_id", *columns],
        [f"{table}.{name}" for name in ("tenant_id", *(referred or columns))],
        ondelete="CASCADE",
    )
