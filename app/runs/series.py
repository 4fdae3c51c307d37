"""Points of one series on their way to Postgres."""

from collections.abc import Sequence
from math import isnan

from app.runs.entities import Point


class SeriesPoints:
    """Points by column, and what they say of their series: the latest, the least, the greatest.

    `latest` is (step, timestamp, value), the greatest by these three, with NaN as 0 where values
    are compared, as in MLflow. `least` and `greatest` leave NaN out, and are None where there is
    nothing else.
    """

    __slots__ = ("greatest", "latest", "least", "steps", "timestamps", "values")

    def __init__(self, points: Sequence[Point]) -> None:
        self.steps = [point.step for point in points]
        self.timestamps = [point.timestamp for point in points]
        self.values = [point.value for point in points]
        rows = zip(self.steps, self.timestamps, self.values, strict=True)
        numbers: list[float] = self.values
        if any(map(isnan, self.values)):
            self.latest = max(rows, key=_recency)
            numbers = [value for value in self.values if not isnan(value)]
        else:
            # Comparing the tuples themselves calls no Python, which counts for a thousand points.
            self.latest = max(rows)
        self.least = min(numbers, default=None)
        self.greatest = max(numbers, default=None)


def _recency(row: tuple[int, int, float]) -> tuple[int, int, float]:
    step, timestamp, value = row
    return step, timestamp, 0.0 if isnan(value) else value
