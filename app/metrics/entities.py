"""Points of metrics, as they are logged and as they are read."""

from dataclasses import dataclass
from typing import NamedTuple

import msgspec

SeriesKey = tuple[str, str]
"""The id of a run, and the key of one of its metrics: what names a series."""

PointRow = tuple[int, int, float]
"""Timestamp in epoch milliseconds, step, value."""


class Point(msgspec.Struct, gc=False):
    """One value of a metric. The API's decoder makes these, so that no point is converted.

    Without `gc`, the garbage collector skips points: they refer to nothing that could refer back.

    `timestamp` is in epoch milliseconds. A point may have been measured on a logged model and on a
    dataset.
    """

    key: str
    value: float
    timestamp: int
    step: int = 0
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None


class LatestMetric(msgspec.Struct):
    """The latest value of a metric of a run."""

    key: str
    value: float
    timestamp: int
    step: int


class PointColumns(NamedTuple):
    """Points of one series by column; timestamps in epoch milliseconds."""

    timestamps: list[int]
    steps: list[int]
    values: list[float]


@dataclass(frozen=True, slots=True)
class Sample:
    """Points in the order of their steps, out of `total`."""

    points: list[PointRow]
    total: int
