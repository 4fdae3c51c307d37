"""Metrics: a dictionary of series with their latest values, and the points."""

from uuid import UUID

from sqlalchemy import Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import Base, TenantOwned, belongs_to_tenant, key, part_of, unique


class MetricSeries(TenantOwned, Base):
    """One metric of one run: its points' short id, its latest point, and a summary.

    The latest point is the greatest by (step, timestamp, value), NaN counting as 0, as MLflow
    has it. `min_value` and `max_value` leave NaN out and are null while nothing else was logged.
    Points after `max_timestamp` cannot be there yet.

    `settled_value` is the latest value where the series is at rest, and null while it is logged
    to: searches walk the index on it, and logging stays clear of that index (HOT).
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
    """The last series id a tenant used.

    Ids are counted by tenant so that four bytes last: they stand in every point and in its key.
    """

    __tablename__ = "metric_series_counters"
    __table_args__ = (key(), belongs_to_tenant(), {"postgresql_with": {"fillfactor": 50}})

    last_series_id: Mapped[int] = mapped_column(Integer)


class MetricPoint(TenantOwned, Base):
    """A point; the same one logged again is the same row.

    The table itself has no key that says so: one over all columns took more room than the points
    do. Who inserts holds the run's lock, and looks for twins of what may be there already. For the
    same reason there is no foreign key to the series.

    Postgres packs the pages of an ascending index whose entries have at most 16 bytes.
    """

    __tablename__ = "metric_points"
    __table_args__ = (Index("metric_points_series_idx", "tenant_id", "series_id", "timestamp"),)
    # The mapper wants one; the table has none.
    __mapper_args__ = {"primary_key": ["tenant_id", "series_id", "timestamp", "step", "value"]}  # noqa: RUF012

    series_id: Mapped[int] = mapped_column(Integer)
    step: Mapped[int]
    timestamp: Mapped[int]
    value: Mapped[float] = mapped_column(DOUBLE_PRECISION)
