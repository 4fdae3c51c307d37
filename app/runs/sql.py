"""The statements of the hot paths, written out, each with what it is for."""

from app.kernel.lifecycle import PURGING

# Lock runs in the order of their ids, which is what keeps two workers from a deadlock, and raise
# their versions. Rows are (run_id, deleted_time).
LOCK_RUNS = """
WITH locked AS MATERIALIZED (
    SELECT run_id FROM runs
    WHERE tenant_id = %(tenant)s AND run_id = ANY(%(runs)s::uuid[])
    ORDER BY run_id
    FOR NO KEY UPDATE
)
UPDATE runs SET version = version + 1
FROM locked
WHERE runs.tenant_id = %(tenant)s AND runs.run_id = locked.run_id
RETURNING runs.run_id, runs.deleted_time
"""

# The series that exist among (run, key) pairs, with their summaries.
FIND_SERIES = """
SELECT s.run_id, s.key, s.series_id,
    s.last_step, s.last_timestamp, s.last_value, s.max_timestamp, s.min_value, s.max_value
FROM unnest(%(runs)s::uuid[], %(keys)s::text[]) AS wanted (run_id, key)
JOIN metric_series s ON s.tenant_id = %(tenant)s AND (s.run_id, s.key) = (wanted.run_id, wanted.key)
"""

# The values of the params that exist among (run, key) pairs.
FIND_PARAMS = """
SELECT p.run_id, p.key, p.value
FROM unnest(%(runs)s::uuid[], %(keys)s::text[]) AS wanted (run_id, key)
JOIN params p ON p.tenant_id = %(tenant)s AND (p.run_id, p.key) = (wanted.run_id, wanted.key)
"""

# Which of the tags exist among (run, key) pairs.
FIND_TAGS = """
SELECT t.run_id, t.key
FROM unnest(%(runs)s::uuid[], %(keys)s::text[]) AS wanted (run_id, key)
JOIN run_tags t ON t.tenant_id = %(tenant)s AND (t.run_id, t.key) = (wanted.run_id, wanted.key)
"""

# How many keys each of some runs has, where it has any.
COUNT_PARAMS = """
SELECT run_id, count(*) FROM params
WHERE tenant_id = %(tenant)s AND run_id = ANY(%(runs)s::uuid[]) GROUP BY run_id
"""
COUNT_TAGS = COUNT_PARAMS.replace("FROM params", "FROM run_tags")
COUNT_SERIES = COUNT_PARAMS.replace("FROM params", "FROM metric_series")

# Which of these logged models exist, and can't be removed before what refers to them is written;
# the rows that do would lock them as well.
FIND_MODELS = """
SELECT model_id FROM logged_models
WHERE tenant_id = %(tenant)s AND model_id = ANY(%(models)s::text[]) AND deleted_time IS NULL
ORDER BY model_id FOR KEY SHARE
"""

# Enter new series with their points. `series` and `of` number the new series from 1; the tenant's
# counter, whose row is locked until the commit, turns that into ids. NaN stands for "no number".
# A series is at rest until another value is logged.
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

# Points that cannot be there yet, since they come after all that is stored of their series.
INSERT_POINTS = """
INSERT INTO metric_points (tenant_id, series_id, timestamp, step, value)
SELECT %(tenant)s, * FROM unnest(%(of)s, %(timestamps)s, %(steps)s, %(values)s)
"""

# Points of which some may be there already, as in a retried batch: only the others are inserted
# and counted. Each timestamp of the batch is looked up once, however many points share it.
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

# Bring series up to date; `counts` are the points that INSERT_POINTS added. NaN stands for
# "no number".
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

# Params that are new; that the others have the same value has been checked under the run's lock.
INSERT_PARAMS = """
INSERT INTO params (tenant_id, run_id, key, value)
SELECT %(tenant)s, * FROM unnest(%(runs)s::uuid[], %(keys)s::text[], %(values)s::text[])
ON CONFLICT DO NOTHING
"""

UPSERT_TAGS = """
INSERT INTO run_tags (tenant_id, run_id, key, value)
SELECT %(tenant)s, * FROM unnest(%(runs)s::uuid[], %(keys)s::text[], %(values)s::text[])
ON CONFLICT (tenant_id, run_id, key) DO UPDATE SET value = EXCLUDED.value
"""

# The tag mlflow.runName is the run's name.
RENAME_RUNS = """
UPDATE runs SET name = renamed.name
FROM unnest(%(runs)s::uuid[], %(names)s::text[]) AS renamed (run_id, name)
WHERE runs.tenant_id = %(tenant)s AND runs.run_id = renamed.run_id
"""

# Points that were measured on a logged model; the same one measured again replaces it.
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

# Create runs with their params and tags in those of their experiments that are active, which stay
# so until the commit. The rows are the experiments that there are.
CREATE_RUNS = """
WITH experiment AS MATERIALIZED (
    SELECT experiment_id, artifact_location, deleted_time FROM experiments
    WHERE tenant_id = %(tenant)s AND experiment_id = ANY(%(experiments)s::bigint[])
    ORDER BY experiment_id
    FOR SHARE
),
created AS (
    INSERT INTO runs
        (tenant_id, run_id, experiment_id, name, user_id, status, start_time)
    SELECT %(tenant)s, run_id, experiment_id, name, user_id, 'RUNNING', start_time
    FROM unnest(
        %(runs)s::uuid[], %(experiments)s::bigint[], %(names)s::text[], %(users)s::text[],
        %(start_times)s::bigint[]
    ) AS new (run_id, experiment_id, name, user_id, start_time)
    JOIN experiment USING (experiment_id)
    WHERE deleted_time IS NULL
    RETURNING run_id
),
its_params AS (
    INSERT INTO params (tenant_id, run_id, key, value)
    SELECT %(tenant)s, run_id, key, value
    FROM unnest(%(param_runs)s::uuid[], %(param_keys)s::text[], %(param_values)s::text[])
        AS new (run_id, key, value)
    JOIN created USING (run_id)
),
its_tags AS (
    INSERT INTO run_tags (tenant_id, run_id, key, value)
    SELECT %(tenant)s, run_id, key, value
    FROM unnest(%(tag_runs)s::uuid[], %(tag_keys)s::text[], %(tag_values)s::text[])
        AS new (run_id, key, value)
    JOIN created USING (run_id)
)
SELECT experiment_id, artifact_location, deleted_time FROM experiment
"""

# One run under lock, for what changes it outside the write queue.
LOCK_RUN = """
SELECT deleted_time FROM runs
WHERE tenant_id = %(tenant)s AND run_id = %(run)s
FOR NO KEY UPDATE
"""

UPDATE_RUN = """
UPDATE runs SET
    status = COALESCE(%(status)s, status),
    end_time = COALESCE(%(end_time)s, end_time),
    name = COALESCE(%(name)s, name),
    version = version + 1
WHERE tenant_id = %(tenant)s AND run_id = %(run)s
"""

# Enter the latest values of a run that ended into the index that searches walk.
SETTLE_SERIES = """
UPDATE metric_series SET settled_value = last_value
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND settled_value IS NULL
"""

SET_DELETED_TIME = f"""
UPDATE runs SET deleted_time = %(deleted_time)s, version = version + 1
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND deleted_time IS DISTINCT FROM {PURGING}
RETURNING run_id
"""

DELETE_TAGS = """
DELETE FROM run_tags
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND key = ANY(%(keys)s::text[])
RETURNING key
"""

READ_TAG = """
SELECT value FROM run_tags WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND key = %(key)s
"""

# Before a search, for its transaction only. Where a search fixes its own way, Postgres plans it
# once for all values: to plan one takes several times as long as to run it.
BOUND_SEARCH = """
SELECT set_config('statement_timeout', %(timeout)s, true),
    set_config('plan_cache_mode', %(plans)s, true)
"""

# Which of these runs exist, and their versions.
READ_VERSIONS = """
SELECT run_id, version FROM runs
WHERE tenant_id = %(tenant)s AND run_id = ANY(%(runs)s::uuid[])
"""

# How many bytes the runs take, about: their texts as they are, numbers and names of fields as they
# are written. Lengths are read without the texts themselves.
READ_SIZES = """
SELECT run_id,
    400
    + (
        SELECT COALESCE(sum(octet_length(key) + octet_length(value) + 30), 0) FROM params p
        WHERE p.tenant_id = %(tenant)s AND p.run_id = wanted.run_id
    )
    + (
        SELECT COALESCE(sum(octet_length(key) + octet_length(value) + 30), 0) FROM run_tags t
        WHERE t.tenant_id = %(tenant)s AND t.run_id = wanted.run_id
    )
    + (
        SELECT COALESCE(sum(octet_length(key) + 100), 0) FROM metric_series s
        WHERE s.tenant_id = %(tenant)s AND s.run_id = wanted.run_id
    )
    + (
        SELECT COALESCE(
            sum(octet_length(source) + COALESCE(octet_length(schema), 0)
                + COALESCE(octet_length(profile), 0) + 1000), 0)
        FROM inputs i JOIN datasets d USING (tenant_id, dataset_id)
        WHERE i.tenant_id = %(tenant)s AND i.run_id = wanted.run_id
    )
FROM runs wanted
WHERE wanted.tenant_id = %(tenant)s AND wanted.run_id = ANY(%(runs)s::uuid[])
"""

# What hangs on a page of runs, one statement a kind; sorted, so that answers are.
READ_RUNS = """
SELECT r.run_id, r.experiment_id, r.name, r.user_id, r.status, r.start_time, r.end_time,
    r.deleted_time, r.version, e.artifact_location
FROM runs r JOIN experiments e USING (tenant_id, experiment_id)
WHERE r.tenant_id = %(tenant)s AND r.run_id = ANY(%(runs)s::uuid[])
"""
# Where a run's artifacts are: (run_id, experiment_id, deleted_time, artifact_location).
LOCATE_RUN = """
SELECT r.run_id, r.experiment_id, r.deleted_time, e.artifact_location
FROM runs r JOIN experiments e USING (tenant_id, experiment_id)
WHERE r.tenant_id = %(tenant)s AND r.run_id = %(run)s
"""
READ_PARAMS = """
SELECT run_id, key, value FROM params
WHERE tenant_id = %(tenant)s AND run_id = ANY(%(runs)s::uuid[]) ORDER BY run_id, key
"""
READ_TAGS = READ_PARAMS.replace("FROM params", "FROM run_tags")
READ_LATEST_METRICS = """
SELECT run_id, key, last_value, last_timestamp, last_step FROM metric_series
WHERE tenant_id = %(tenant)s AND run_id = ANY(%(runs)s::uuid[]) ORDER BY run_id, key
"""
READ_INPUTS = """
SELECT i.run_id, d.name, d.digest, d.source_type, d.source, d.schema, d.profile,
    (SELECT COALESCE(jsonb_object_agg(t.key, t.value), '{}') FROM input_tags t
     WHERE (t.tenant_id, t.run_id, t.dataset_id) = (i.tenant_id, i.run_id, i.dataset_id))
FROM inputs i JOIN datasets d USING (tenant_id, dataset_id)
WHERE i.tenant_id = %(tenant)s AND i.run_id = ANY(%(runs)s::uuid[])
ORDER BY i.run_id, d.name, d.digest
"""
READ_RUN_MODELS = """
SELECT run_id, direction, model_id, step FROM run_models
WHERE tenant_id = %(tenant)s AND run_id = ANY(%(runs)s::uuid[])
ORDER BY run_id, direction, step, model_id
"""
