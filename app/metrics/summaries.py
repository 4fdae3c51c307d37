"""The summary of a series, and how new points change it."""

from collections.abc import Sequence
from itertools import islice
from math import isnan
from operator import attrgetter, lt
from typing import NamedTuple

from app.metrics.entities import Point

NAN = float("nan")


class Summary(NamedTuple):
    """The latest point, the greatest timestamp, and the least and greatest value of a series.

    As in MLflow, the latest point is the greatest by (step, timestamp, value), where NaN compares
    as 0. `min_value` and `max_value` leave NaN out; they are None where every value is NaN.
    """

    last_step: int
    last_timestamp: int
    last_value: float
    max_timestamp: int
    min_value: float | None
    max_value: float | None

    def merge(self, other: "Summary") -> "Summary":
        """The summary of the points of both."""
        latest = max(self, other, key=lambda summary: _recency(summary[:3]))
        return Summary(
            *latest[:3],
            max(self.max_timestamp, other.max_timestamp),
            min(_numbers(self.min_value, other.min_value), default=None),
            max(_numbers(self.max_value, other.max_value), default=None),
        )


class StoredSeries(NamedTuple):
    """A series as Postgres has it: its id and its summary."""

    series_id: int
    summary: Summary


class SeriesBatch:
    """New points of one series by column, in the order of their timestamps, and their summary.

    Duplicates within the batch are removed.
    """

    __slots__ = ("steps", "summary", "timestamps", "values")

    def __init__(self, points: Sequence[Point]) -> None:
        self.timestamps = list(map(attrgetter("timestamp"), points))
        self.steps = list(map(attrgetter("step"), points))
        self.values = list(map(attrgetter("value"), points))
        numbers = self.values
        if with_nan := any(map(isnan, self.values)):
            # The same object for every NaN, so that duplicates compare equal.
            self.values = [NAN if isnan(value) else value for value in self.values]
            numbers = [value for value in self.values if not isnan(value)]
        if not all(map(lt, self.timestamps, islice(self.timestamps, 1, None))):
            self._sort()
        rows = zip(self.steps, self.timestamps, self.values, strict=True)
        # Without a key function no Python is called, which matters for a thousand points.
        latest = max(rows, key=_recency) if with_nan else max(rows)
        self.summary = Summary(
            *latest,
            self.timestamps[-1],
            min(numbers, default=None),
            max(numbers, default=None),
        )

    def comes_after(self, stored: Summary) -> bool:
        """Whether the summary rules out that any of these points is stored already."""
        earliest = self.timestamps[0], self.steps[0]
        return earliest > (stored.max_timestamp, stored.last_step)

    def _sort(self) -> None:
        """Sort the points by timestamp and step, and remove duplicates."""
        rows = {*zip(self.timestamps, self.steps, self.values, strict=True)}
        columns = zip(*sorted(rows, key=lambda row: row[:2]), strict=True)
        self.timestamps, self.steps, self.values = map(list, columns)


def _recency(row: tuple[int, int, float]) -> tuple[int, int, float]:
    """The sort key by which the greatest point is the latest."""
    step, timestamp, value = row
    return step, timestamp, 0.0 if isnan(value) else value


def _numbers(*values: float | None) -> list[float]:
    return [value for value in values if value is not None]
