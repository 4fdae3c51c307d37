"""The statements on metrics: those that write points and their series, and those that read them."""

# Writing.

# The series that exist among (run, key) pairs, with their summaries.
FIND_SERIES = """
SELECT s.run_id, s.key, s.series_id,
    s.last_step, s.last_timestamp, s.last_value, s.max_timestamp, s.min_value, s.max_value
FROM unnest(%(runs)s::uuid[], %(keys)s::text[]) AS wanted (run_id, key)
JOIN metric_series s ON s.tenant_id = %(tenant)s AND (s.run_id, s.key) = (wanted.run_id, wanted.key)
"""

# The number of metrics of each run that has any.
COUNT_SERIES = """
SELECT run_id, count(*) FROM metric_series
WHERE tenant_id = %(tenant)s AND run_id = ANY(%(runs)s::uuid[]) GROUP BY run_id
"""

# Insert new series with their points. `series` and `of` number the new series from 1; the tenant's
# counter, whose row is locked until the commit, turns these numbers into ids. NaN in `min_values`
# and `max_values` stands for NULL. A new series has the settled value that its first batch ends
# with; UPDATE_SERIES clears it once the latest value changes.
INSERT_SERIES = """
WITH counter AS (
    INSERT INTO metric_series_counters AS counter (tenant_id, last_series_id)
    VALUES (%(tenant)s, cardinality(%(series)s))
    ON CONFLICT (tenant_id)
    DO UPDATE SET last_series_id = counter.last_series_id + EXCLUDED.last_series_id
    RETURNING last_series_id - cardinality(%(series)s) AS before
),
entered AS (
    INSERT INTO metric_series
        (tenant_id, series_id, run_id, key, last_step, last_timestamp, last_value, settled_value,
         max_timestamp, min_value, max_value, point_count)
    SELECT %(tenant)s, before + series, run_id, key, last_step, last_timestamp, last_value,
        last_value, max_timestamp, NULLIF(min_value, 'NaN'), NULLIF(max_value, 'NaN'), point_count
    FROM counter, unnest(
        %(series)s, %(runs)s::uuid[], %(keys)s::text[], %(last_steps)s, %(last_timestamps)s,
        %(last_values)s, %(max_timestamps)s, %(min_values)s, %(max_values)s, %(counts)s
    ) AS new (series, run_id, key, last_step, last_timestamp, last_value, max_timestamp,
        min_value, max_value, point_count)
)
INSERT INTO metric_points (tenant_id, series_id, timestamp, step, value)
SELECT %(tenant)s, before + series, timestamp, step, value
FROM counter, unnest(%(of)s, %(timestamps)s, %(steps)s, %(values)s)
    AS new (series, timestamp, step, value)
"""

# Insert points that come after all stored points of their series.
INSERT_POINTS = """
INSERT INTO metric_points (tenant_id, series_id, timestamp, step, value)
SELECT %(tenant)s, * FROM unnest(%(of)s, %(timestamps)s, %(steps)s, %(values)s)
"""

# Insert points of which some may be stored already, as in a retried batch: only the others are
# inserted and counted. Each timestamp of the batch is looked up once, however many points share it.
INSERT_ABSENT_POINTS = """
WITH batch AS MATERIALIZED (
    SELECT * FROM unnest(%(of)s, %(timestamps)s, %(steps)s, %(values)s)
        AS b (series_id, timestamp, step, value)
),
inserted AS (
    INSERT INTO metric_points (tenant_id, series_id, timestamp, step, value)
    SELECT %(tenant)s, *
    FROM (
        SELECT series_id, timestamp, step, value FROM batch
        EXCEPT
        SELECT p.series_id, p.timestamp, p.step, p.value
        FROM (SELECT DISTINCT series_id, timestamp FROM batch) AS looked_up
        JOIN metric_points p ON p.tenant_id = %(tenant)s
            AND (p.series_id, p.timestamp) = (looked_up.series_id, looked_up.timestamp)
    ) AS absent
    RETURNING series_id
)
UPDATE metric_series s SET point_count = s.point_count + gained.points
FROM (SELECT series_id, count(*) AS points FROM inserted GROUP BY series_id) AS gained
WHERE s.tenant_id = %(tenant)s AND s.series_id = gained.series_id
"""

# Update the summaries of series. `counts` are the points that INSERT_POINTS inserted. NaN in
# `min_values` and `max_values` stands for NULL.
UPDATE_SERIES = """
UPDATE metric_series s SET
    last_step = new.last_step,
    last_timestamp = new.last_timestamp,
    last_value = new.last_value,
    settled_value = CASE WHEN s.last_value = new.last_value THEN s.settled_value END,
    max_timestamp = new.max_timestamp,
    min_value = NULLIF(new.min_value, 'NaN'),
    max_value = NULLIF(new.max_value, 'NaN'),
    point_count = s.point_count + new.point_count
FROM unnest(
    %(series)s, %(last_steps)s, %(last_timestamps)s, %(last_values)s, %(max_timestamps)s,
    %(min_values)s, %(max_values)s, %(counts)s
) AS new (series_id, last_step, last_timestamp, last_value, max_timestamp, min_value, max_value,
    point_count)
WHERE s.tenant_id = %(tenant)s AND s.series_id = new.series_id
"""

# Log points to series of one active run, of which all exist, and none holds a point that late: then
# no point can be a duplicate, and nothing needs to be asked before. Otherwise nothing is written,
# and the row is false. The run's lock is held since before the statement began.
LOG_LATER_POINTS = """
WITH found AS MATERIALIZED (
    SELECT n.number, s.series_id,
        (n.last_step, n.last_timestamp) > (s.last_step, s.last_timestamp) AS is_latest,
        n.last_step, n.last_timestamp, n.last_value, n.max_timestamp,
        n.min_value, n.max_value, n.point_count
    FROM unnest(
        %(keys)s::text[], %(first_steps)s, %(first_timestamps)s, %(last_steps)s,
        %(last_timestamps)s, %(last_values)s, %(max_timestamps)s, %(min_values)s, %(max_values)s,
        %(counts)s
    ) WITH ORDINALITY AS n (key, first_step, first_timestamp, last_step, last_timestamp, last_value,
        max_timestamp, min_value, max_value, point_count, number)
    JOIN metric_series s
        ON s.tenant_id = %(tenant)s AND s.run_id = %(run)s AND s.key = n.key
    WHERE (n.first_timestamp, n.first_step) > (s.max_timestamp, s.last_step)
),
complete AS MATERIALIZED (
    SELECT count(*) = cardinality(%(keys)s::text[]) AND EXISTS (
        SELECT FROM runs
        WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND deleted_time IS NULL
    ) AS every FROM found
),
inserted AS (
    INSERT INTO metric_points (tenant_id, series_id, timestamp, step, value)
    SELECT %(tenant)s, found.series_id, p.timestamp, p.step, p.value
    FROM complete, unnest(%(of)s, %(timestamps)s, %(steps)s, %(values)s)
        AS p (number, timestamp, step, value)
    JOIN found ON found.number = p.number
    WHERE every
),
updated AS (
    UPDATE metric_series s SET
        last_step = CASE WHEN is_latest THEN found.last_step ELSE s.last_step END,
        last_timestamp =
            CASE WHEN is_latest THEN found.last_timestamp ELSE s.last_timestamp END,
        last_value = CASE WHEN is_latest THEN found.last_value ELSE s.last_value END,
        settled_value = CASE
            WHEN NOT is_latest OR s.last_value = found.last_value THEN s.settled_value
        END,
        max_timestamp = found.max_timestamp,
        min_value = LEAST(s.min_value, NULLIF(found.min_value, 'NaN')),
        max_value = GREATEST(s.max_value, NULLIF(found.max_value, 'NaN')),
        point_count = s.point_count + found.point_count
    FROM found, complete
    WHERE s.tenant_id = %(tenant)s AND s.series_id = found.series_id AND every
)
SELECT every FROM complete
"""

# Insert points that were measured on a logged model; a point that exists is overwritten.
UPSERT_MODEL_POINTS = """
INSERT INTO logged_model_metrics
    (tenant_id, model_id, key, timestamp, step, run_id, value, dataset_name, dataset_digest)
SELECT %(tenant)s, *
FROM unnest(
    %(models)s::text[], %(keys)s::text[], %(timestamps)s::bigint[], %(steps)s::bigint[],
    %(runs)s::uuid[], %(values)s::float8[], %(dataset_names)s::text[], %(dataset_digests)s::text[]
)
ON CONFLICT (tenant_id, model_id, key, timestamp, step, run_id) DO UPDATE SET
    value = EXCLUDED.value,
    dataset_name = EXCLUDED.dataset_name,
    dataset_digest = EXCLUDED.dataset_digest
"""

# Copy the latest values of a run that has ended into the column that index scans read.
SET_SETTLED_VALUES = """
UPDATE metric_series SET settled_value = last_value
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND settled_value IS NULL
"""

# Reading.

# The latest value of each metric of some runs.
READ_LATEST_METRICS = """
SELECT run_id, key, last_value, last_timestamp, last_step FROM metric_series
WHERE tenant_id = %(tenant)s AND run_id = ANY(%(runs)s::uuid[]) ORDER BY run_id, key
"""

# The series of a metric of a run. No row: there is no run; a row of NULLs: the metric was never
# logged.
FIND_SERIES_OF_RUN = """
SELECT s.series_id, s.point_count
FROM runs r
LEFT JOIN metric_series s
    ON s.tenant_id = r.tenant_id AND s.run_id = r.run_id AND s.key = %(key)s
WHERE r.tenant_id = %(tenant)s AND r.run_id = %(run)s
"""

# The series of one metric in several runs.
FIND_SERIES_OF_RUNS = """
SELECT run_id, series_id, point_count FROM metric_series
WHERE tenant_id = %(tenant)s AND run_id = ANY(%(runs)s::uuid[]) AND key = %(key)s
"""

# Makes the planner read a page from the index, which has the points in order. Where a table has
# short and long series, its statistics do not tell how long this one is, and the planner might
# fetch and sort all of its points.
FORCE_INDEX_ORDER = """
SELECT set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true)
"""

# Lets Postgres sort up to a quarter of a million points in memory, which is a little faster. Longer
# series are sorted on disk, so that they take no more memory.
SET_SORT_MEMORY = "SELECT set_config('work_mem', '16MB', true)"

# A page of a history, each column as one array. MLflow's order is that of (timestamp, step, value).
# Where no two points share a timestamp, the order of the index is the same, and is read in half the
# time.
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


def read_history(*, after: bool, full_order: bool) -> str:
    """The statement that reads a page: with `after`, of what follows a given point."""
    order = "timestamp, step, value" if full_order else "timestamp"
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

# The number of points of a series between two steps.
COUNT_BETWEEN = """
SELECT count(*) FROM metric_points
WHERE tenant_id = %(tenant)s AND series_id = %(series)s
    AND step BETWEEN %(first)s AND %(last)s
"""

# The points of a series between two steps, numbered in the order of their steps.
_IN_STEP_ORDER = """
SELECT timestamp, step, value,
    row_number() OVER (ORDER BY step, timestamp, value) - 1 AS place
FROM metric_points
WHERE tenant_id = %(tenant)s AND series_id = %(series)s
    AND step BETWEEN %(first)s AND %(last)s
"""

# One point of each even part of a series, in the order of its steps: the first point of the part,
# but the last point of the last part. The last part begins at the place `last_part`. Parts before
# the place `larger` have `size` + 1 points, the others `size`.
READ_EVEN_PLACES = f"""
SELECT timestamp, step, value FROM ({_IN_STEP_ORDER}) AS points
WHERE place = %(total)s - 1 OR place < %(last_part)s AND CASE
    WHEN place < %(larger)s THEN place %% (%(size)s + 1)
    ELSE (place - %(larger)s) %% %(size)s
END = 0
ORDER BY place
"""

# The points with the lowest and the highest value of each of `buckets` even parts of a series. NaN
# sorts as if it were missing, so that it is returned only for a part that has nothing else.
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
