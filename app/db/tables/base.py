"""What every table has in common: naming, and the tenant that owns each row."""

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
    """The declarative base of every table. Times are epoch milliseconds, as in MLflow's API."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {int: BigInteger}  # noqa: RUF012 (SQLAlchemy reads it from the class)


def table_of(model: type[Base]) -> Table:
    """The model's table, for statements of SQLAlchemy Core."""
    return cast(Table, model.__table__)


class TenantOwned:
    """A row that belongs to one tenant: the column comes first in the table and in every key."""

    tenant_id: Mapped[int] = mapped_column(Integer, sort_order=-100)


def key(*columns: str) -> PrimaryKeyConstraint:
    """The primary key: the tenant, then `columns`."""
    return PrimaryKeyConstraint("tenant_id", *columns)


def unique(*columns: str) -> UniqueConstraint:
    return UniqueConstraint("tenant_id", *columns)


def belongs_to_tenant() -> ForeignKeyConstraint:
    """The foreign key of the tables at the top of a tenant's tree."""
    return ForeignKeyConstraint(["tenant_id"], ["tenants.id"])


def part_of(table: str, *columns: str, referred: Sequence[str] = ()) -> ForeignKeyConstraint:
    """A foreign key within one tenant; the row goes when what it is a part of goes."""
    return ForeignKeyConstraint(
        ["tenant_id", *columns],
        [f"{table}.{name}" for name in ("tenant_id", *(referred or columns))],
        ondelete="CASCADE",
    )
