"""The statements that read metrics, each with what it is for."""

# Whether the run is there, and its series, if the metric was ever logged. No row: no run.
FIND_SERIES = """
SELECT s.series_id, s.point_count
FROM runs r
LEFT JOIN metric_series s
    ON s.tenant_id = r.tenant_id AND s.run_id = r.run_id AND s.key = %(key)s
WHERE r.tenant_id = %(tenant)s AND r.run_id = %(run)s
"""

# The statistics of a table with short series and long ones do not tell the planner how long this
# one is. The index has the points in order, so that it never pays to fetch and sort them all.
IN_INDEX_ORDER = """
SELECT set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true)
"""

# Up to a quarter of a million points are sorted in memory, a little faster; a longer series
# on disk, so that it takes no more of Postgres's memory.
ROOM_TO_SORT = "SELECT set_config('work_mem', '16MB', true)"

# A page of a history, as one array a column. Where points share a timestamp only the full order is
# MLflow's; where none do, the index alone has it, and is read in half the time.
_READ_HISTORY = """
SELECT array_agg(timestamp), array_agg(step), array_agg(value)
FROM (
    SELECT timestamp, step, value FROM metric_points
    WHERE tenant_id = %(tenant)s AND series_id = %(series)s {after}
    ORDER BY {order}
    LIMIT %(limit)s
) AS page
"""
_AFTER = """
    AND timestamp >= %(timestamp)s
    AND (timestamp, step, value) > (%(timestamp)s, %(step)s, %(value)s::float8)
"""


def read_history(*, after: bool, whole_order: bool) -> str:
    """`after` where the page starts behind a point."""
    order = "timestamp, step, value" if whole_order else "timestamp"
    return _READ_HISTORY.format(after=_AFTER if after else "", order=order)


# The histories of one metric in several runs, run after run.
READ_HISTORIES = """
SELECT s.run_id, p.timestamp, p.step, p.value
FROM metric_series s
JOIN metric_points p ON p.tenant_id = s.tenant_id AND p.series_id = s.series_id
WHERE s.tenant_id = %(tenant)s AND s.run_id = ANY(%(runs)s::uuid[]) AND s.key = %(key)s
ORDER BY s.run_id, p.timestamp, p.step, p.value
LIMIT %(limit)s
"""

COUNT_BETWEEN = """
SELECT count(*) FROM metric_points
WHERE tenant_id = %(tenant)s AND series_id = %(series)s
    AND step BETWEEN %(first)s AND %(last)s
"""

# The series of one metric in several runs.
FIND_SERIES_OF_RUNS = """
SELECT run_id, series_id, point_count FROM metric_series
WHERE tenant_id = %(tenant)s AND run_id = ANY(%(runs)s::uuid[]) AND key = %(key)s
"""

_IN_STEP_ORDER = """
SELECT timestamp, step, value,
    row_number() OVER (ORDER BY step, timestamp, value) - 1 AS place
FROM metric_points
WHERE tenant_id = %(tenant)s AND series_id = %(series)s
    AND step BETWEEN %(first)s AND %(last)s
"""

# One point of each even part of the series, in the order of its steps: the first, and of the last
# part, which begins at the place `last_part`, the last. Parts have `size` points, but those before
# the place `larger` one more.
READ_EVEN_PLACES = f"""
SELECT timestamp, step, value FROM ({_IN_STEP_ORDER}) AS points
WHERE place = %(total)s - 1 OR place < %(last_part)s AND CASE
    WHEN place < %(larger)s THEN place %% (%(size)s + 1)
    ELSE (place - %(larger)s) %% %(size)s
END = 0
ORDER BY place
"""

# The lowest and the highest point of each of `buckets` even parts of the series. NaN sorts as if
# missing, so it stands for a part that has nothing else only.
READ_EXTREMES = f"""
WITH parts AS (
    SELECT *, place * %(buckets)s / %(total)s AS part, NULLIF(value, 'NaN') AS number
    FROM ({_IN_STEP_ORDER}) AS points
),
ranked AS (
    SELECT timestamp, step, value, place,
        row_number() OVER (PARTITION BY part ORDER BY number NULLS LAST, place) AS low,
        row_number() OVER (PARTITION BY part ORDER BY number DESC NULLS LAST, place) AS high
    FROM parts
)
SELECT timestamp, step, value FROM ranked WHERE low = 1 OR high = 1 ORDER BY place
"""
