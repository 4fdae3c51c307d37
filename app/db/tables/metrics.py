"""Metric series with their latest values, and metric points."""

from uuid import UUID

from sqlalchemy import Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import Base, TenantOwned, belongs_to_tenant, key, part_of, unique


class MetricSeries(TenantOwned, Base):
    """One metric of one run: the id in its points, its latest point, and a summary.

    The latest point is the greatest by (step, timestamp, value), with NaN as 0, as in MLflow.
    `min_value` and `max_value` ignore NaN; they are null if all values are NaN. No point is later
    than `max_timestamp`.

    `settled_value` is the latest value of a series that is not being logged to, and null for the
    others: searches scan the index on it, and logging does not update that index (HOT updates).
    """

    __tablename__ = "metric_series"
    __table_args__ = (
        key("series_id"),
        unique("run_id", "key"),
        part_of("runs", "run_id"),
        Index(
            "metric_series_settled_idx",
            *("tenant_id", "key", "settled_value", "run_id"),
            postgresql_where=text("settled_value IS NOT NULL"),
        ),
        Index(
            "metric_series_unsettled_idx",
            *("tenant_id", "key", "run_id"),
            postgresql_where=text("settled_value IS NULL"),
        ),
        {"postgresql_with": {"fillfactor": 80}},
    )

    series_id: Mapped[int] = mapped_column(Integer)
    run_id: Mapped[UUID]
    key: Mapped[str] = mapped_column(Text)
    last_step: Mapped[int]
    last_timestamp: Mapped[int]
    last_value: Mapped[float] = mapped_column(DOUBLE_PRECISION)
    max_timestamp: Mapped[int]
    point_count: Mapped[int]
    min_value: Mapped[float | None] = mapped_column(DOUBLE_PRECISION)
    max_value: Mapped[float | None] = mapped_column(DOUBLE_PRECISION)
    settled_value: Mapped[float | None] = mapped_column(DOUBLE_PRECISION)


class MetricSeriesCounter(TenantOwned, Base):
    """The last series id of a tenant.

    Ids are counted by tenant so that four bytes suffice: each point and its index entry has one.
    """

    __tablename__ = "metric_series_counters"
    __table_args__ = (key(), belongs_to_tenant(), {"postgresql_with": {"fillfactor": 50}})

    last_series_id: Mapped[int] = mapped_column(Integer)


class MetricPoint(TenantOwned, Base):
    """A metric point; the same point logged again is stored once.

    There is no unique constraint, as it would take more space than the points. Instead an insert
    holds the run's lock and looks for duplicates. For the same reason there is no foreign key to
    the series.

    Index entries have at most 16 bytes: Postgres then fills the pages of an ascending index.
    """

    __tablename__ = "metric_points"
    __table_args__ = (Index("metric_points_series_idx", "tenant_id", "series_id", "timestamp"),)
    # The table has no primary key, but SQLAlchemy's mapper needs one.
    __mapper_args__ = {"primary_key": ["tenant_id", "series_id", "timestamp", "step", "value"]}  # noqa: RUF012

    series_id: Mapped[int] = mapped_column(Integer)
    step: Mapped[int]
    timestamp: Mapped[int]
    value: Mapped[float] = mapped_column(DOUBLE_PRECISION)
