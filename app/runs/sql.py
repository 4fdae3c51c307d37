"""The statements of the hot paths, written out, each with what it is for."""

from app.lifecycle import PURGING

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

# The ids of the series that exist among (run, key) pairs.
FIND_SERIES = """
SELECT s.run_id, s.key, s.series_id
FROM unnest(%(runs)s::uuid[], %(keys)s::text[]) AS wanted (run_id, key)
JOIN metric_series s ON s.tenant_id = %(tenant)s AND (s.run_id, s.key) = (wanted.run_id, wanted.key)
"""

# The values of the params that exist among (run, key) pairs.
FIND_PARAMS = """
SELECT p.run_id, p.key, p.value
FROM unnest(%(runs)s::uuid[], %(keys)s::text[]) AS wanted (run_id, key)
JOIN params p ON p.tenant_id = %(tenant)s AND (p.run_id, p.key) = (wanted.run_id, wanted.key)
"""

# Which of these logged models exist.
FIND_MODELS = """
SELECT model_id FROM logged_models
WHERE tenant_id = %(tenant)s AND model_id = ANY(%(models)s::text[]) AND deleted_time IS NULL
"""

# Take the next `count` series ids of the tenant; the row is the last of them.
TAKE_SERIES_IDS = """
INSERT INTO metric_series_counters AS counter (tenant_id, last_series_id)
VALUES (%(tenant)s, %(count)s)
ON CONFLICT (tenant_id)
DO UPDATE SET last_series_id = counter.last_series_id + EXCLUDED.last_series_id
RETURNING last_series_id
"""

# Enter new series; INSERT_POINTS then counts their points.
INSERT_SERIES = """
INSERT INTO metric_series
    (tenant_id, series_id, run_id, key, last_step, last_timestamp, last_value, point_count)
SELECT %(tenant)s, *, 0
FROM unnest(
    %(series)s::integer[], %(runs)s::uuid[], %(keys)s::text[],
    %(steps)s::bigint[], %(timestamps)s::bigint[], %(values)s::float8[]
)
"""

# Insert points, passing over those that are there already, and bring the series that gained any
# up to date. A retried batch finds its points by key and changes nothing.
INSERT_POINTS = """
WITH written AS (
    INSERT INTO metric_points (tenant_id, series_id, timestamp, step, value)
    SELECT %(tenant)s, *
    FROM unnest(
        %(series)s::integer[], %(timestamps)s::bigint[], %(steps)s::bigint[], %(values)s::float8[]
    )
    ON CONFLICT DO NOTHING
    RETURNING series_id
),
gained AS (
    SELECT series_id, count(*) AS points FROM written GROUP BY series_id
),
batch AS (
    SELECT *
    FROM unnest(
        %(touched)s::integer[], %(last_steps)s::bigint[], %(last_timestamps)s::bigint[],
        %(last_values)s::float8[], %(least)s::float8[], %(greatest)s::float8[]
    ) AS b (series_id, step, timestamp, value, least, greatest)
    JOIN gained USING (series_id)
),
compared AS (
    SELECT batch.*,
        (batch.step, batch.timestamp, COALESCE(NULLIF(batch.value, 'NaN'), 0))
        > (s.last_step, s.last_timestamp, COALESCE(NULLIF(s.last_value, 'NaN'), 0)) AS later
    FROM batch JOIN metric_series s ON s.tenant_id = %(tenant)s AND s.series_id = batch.series_id
)
UPDATE metric_series s SET
    last_step = CASE WHEN later THEN c.step ELSE s.last_step END,
    last_timestamp = CASE WHEN later THEN c.timestamp ELSE s.last_timestamp END,
    last_value = CASE WHEN later THEN c.value ELSE s.last_value END,
    point_count = s.point_count + c.points,
    min_value = LEAST(s.min_value, NULLIF(c.least, 'NaN')),
    max_value = GREATEST(s.max_value, NULLIF(c.greatest, 'NaN'))
FROM compared c
WHERE s.tenant_id = %(tenant)s AND s.series_id = c.series_id
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

# Create a run with its params and tags in an active experiment, which stays active until the
# commit. No row: there is no such experiment; a row with a deleted_time: nothing was created.
CREATE_RUN = """
WITH experiment AS (
    SELECT artifact_location, deleted_time FROM experiments
    WHERE tenant_id = %(tenant)s AND experiment_id = %(experiment)s
    FOR SHARE
),
created AS (
    INSERT INTO runs
        (tenant_id, run_id, experiment_id, name, user_id, status, start_time)
    SELECT %(tenant)s, %(run)s, %(experiment)s, %(name)s, %(user)s, 'RUNNING', %(start_time)s
    FROM experiment WHERE deleted_time IS NULL
    RETURNING tenant_id, run_id
),
its_params AS (
    INSERT INTO params (tenant_id, run_id, key, value)
    SELECT tenant_id, run_id, key, value
    FROM created, unnest(%(param_keys)s::text[], %(param_values)s::text[]) AS p (key, value)
),
its_tags AS (
    INSERT INTO run_tags (tenant_id, run_id, key, value)
    SELECT tenant_id, run_id, key, value
    FROM created, unnest(%(tag_keys)s::text[], %(tag_values)s::text[]) AS t (key, value)
)
SELECT artifact_location, deleted_time FROM experiment
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

SET_DELETED_TIME = f"""
UPDATE runs SET deleted_time = %(deleted_time)s, version = version + 1
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND deleted_time IS DISTINCT FROM {PURGING}
RETURNING run_id
"""

DELETE_TAG = """
DELETE FROM run_tags WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND key = %(key)s
RETURNING key
"""

READ_TAG = """
SELECT value FROM run_tags WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND key = %(key)s
"""

# Which of these runs exist, and their versions.
READ_VERSIONS = """
SELECT run_id, version FROM runs
WHERE tenant_id = %(tenant)s AND run_id = ANY(%(runs)s::uuid[])
"""

# What hangs on a page of runs, one statement a kind; sorted, so that answers are.
READ_RUNS = """
SELECT r.run_id, r.experiment_id, r.name, r.user_id, r.status, r.start_time, r.end_time,
    r.deleted_time, r.version, e.artifact_location
FROM runs r JOIN experiments e USING (tenant_id, experiment_id)
WHERE r.tenant_id = %(tenant)s AND r.run_id = ANY(%(runs)s::uuid[])
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
