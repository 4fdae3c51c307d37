"""Summaries of series: of one batch, of several, and what they say about duplicates."""

import math

from hypothesis import given
from hypothesis import strategies as st

from app.metrics.entities import Point
from app.metrics.summaries import SeriesBatch, Summary

# Few values, so that points repeat and tie.
POINTS = st.lists(
    st.builds(
        Point,
        key=st.just("loss"),
        value=st.sampled_from([-math.inf, -1.0, 0.0, 2.5, math.inf, math.nan]),
        timestamp=st.integers(0, 3),
        step=st.integers(-1, 2),
    ),
    min_size=1,
    max_size=12,
)


def rows(batch: SeriesBatch) -> list[tuple[int, int, str]]:
    """Timestamp, step and value of each point; the value as text, so that NaN equals NaN."""
    columns = batch.timestamps, batch.steps, map(str, batch.values)
    return list(zip(*columns, strict=True))


def comparable(summary: Summary) -> tuple[object, ...]:
    """A summary in which the last value is compared as MLflow does, with NaN as 0."""
    last_value = 0.0 if math.isnan(summary.last_value) else summary.last_value
    return summary._replace(last_value=last_value)


@given(POINTS)
def test_a_batch_has_each_point_once_in_the_order_of_timestamps(points: list[Point]) -> None:
    batch = SeriesBatch(points)
    assert sorted(rows(batch)) == sorted({(p.timestamp, p.step, str(p.value)) for p in points})
    assert batch.timestamps == sorted(batch.timestamps)


@given(POINTS)
def test_the_summary_of_a_batch(points: list[Point]) -> None:
    summary = SeriesBatch(points).summary
    numbers = [point.value for point in points if not math.isnan(point.value)]
    assert summary.min_value == min(numbers, default=None)
    assert summary.max_value == max(numbers, default=None)
    assert summary.max_timestamp == max(point.timestamp for point in points)
    assert comparable(summary)[:3] == max(
        (p.step, p.timestamp, 0.0 if math.isnan(p.value) else p.value) for p in points
    )


@given(POINTS, POINTS)
def test_merging_two_summaries_gives_that_of_all_points(
    first: list[Point], second: list[Point]
) -> None:
    merged = SeriesBatch(first).summary.merge(SeriesBatch(second).summary)
    assert comparable(merged) == comparable(SeriesBatch(first + second).summary)


@given(POINTS, POINTS)
def test_points_that_come_after_a_summary_are_no_duplicates(
    stored: list[Point], new: list[Point]
) -> None:
    batch = SeriesBatch(new)
    if batch.comes_after(SeriesBatch(stored).summary):
        assert not {*rows(batch)} & {*rows(SeriesBatch(stored))}


def test_a_later_timestamp_comes_after_and_the_same_point_does_not() -> None:
    stored = SeriesBatch([Point("loss", 1.0, 10, 3)]).summary
    assert SeriesBatch([Point("loss", 1.0, 11, 0)]).comes_after(stored)
    assert SeriesBatch([Point("loss", 1.0, 10, 4)]).comes_after(stored)
    assert not SeriesBatch([Point("loss", 1.0, 10, 3)]).comes_after(stored)
