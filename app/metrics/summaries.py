"""Points of one series on their way to Postgres, and what they make of the series' summary."""

from collections.abc import Sequence
from itertools import islice
from math import isnan
from operator import attrgetter, lt
from typing import NamedTuple

from app.runs.entities import Point

NAN = float("nan")


class Summary(NamedTuple):
    """What a series says of its points.

    The last point is the greatest by (step, timestamp, value), with NaN as 0 where values are
    compared, as in MLflow. `min_value` and `max_value` leave NaN out, and are None where there is
    nothing else.
    """

    last_step: int
    last_timestamp: int
    last_value: float
    max_timestamp: int
    min_value: float | None
    max_value: float | None

    def merged(self, other: "Summary") -> "Summary":
        """The summary of both; a point that is in both counts once."""
        later = max(self, other, key=lambda one: _recency(one[:3]))
        return Summary(
            *later[:3],
            max(self.max_timestamp, other.max_timestamp),
            min(_numbers(self.min_value, other.min_value), default=None),
            max(_numbers(self.max_value, other.max_value), default=None),
        )


class StoredSeries(NamedTuple):
    series_id: int
    summary: Summary


class SeriesPoints:
    """Points by column, without twins, in the order of their timestamps, and their summary."""

    __slots__ = ("steps", "summary", "timestamps", "values")

    def __init__(self, points: Sequence[Point]) -> None:
        self.timestamps = list(map(attrgetter("timestamp"), points))
        self.steps = list(map(attrgetter("step"), points))
        self.values = list(map(attrgetter("value"), points))
        numbers = self.values
        if with_nan := any(map(isnan, self.values)):
            # One NaN for all, so that twins are equal.
            self.values = [NAN if isnan(value) else value for value in self.values]
            numbers = [value for value in self.values if not isnan(value)]
        if not all(map(lt, self.timestamps, islice(self.timestamps, 1, None))):
            self._sort()
        rows = zip(self.steps, self.timestamps, self.values, strict=True)
        # Comparing the tuples themselves calls no Python, which counts for a thousand points.
        latest = max(rows, key=_recency) if with_nan else max(rows)
        self.summary = Summary(
            *latest,
            self.timestamps[-1],
            min(numbers, default=None),
            max(numbers, default=None),
        )

    def follow(self, stored: Summary) -> bool:
        """Whether none of the points can be there already, by the stored points' summary."""
        earliest = self.timestamps[0], self.steps[0]
        return earliest > (stored.max_timestamp, stored.last_step)

    def _sort(self) -> None:
        rows = {*zip(self.timestamps, self.steps, self.values, strict=True)}
        columns = zip(*sorted(rows, key=lambda row: row[:2]), strict=True)
        self.timestamps, self.steps, self.values = map(list, columns)


def _recency(row: tuple[int, int, float]) -> tuple[int, int, float]:
    step, timestamp, value = row
    return step, timestamp, 0.0 if isnan(value) else value


def _numbers(*values: float | None) -> list[float]:
    return [value for value in values if value is not None]
