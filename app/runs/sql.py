"""The statements on runs. They are text, since compiling them in SQLAlchemy costs too much here."""

from app.kernel.lifecycle import PURGING
from app.runs.entities import LONG_VALUE_LENGTH, SHORTENED_LENGTH

# Lock runs and raise their versions. They are locked in the order of their ids, so that two workers
# do not deadlock.
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

# Lock one run and raise its version; the row is that of an active run.
LOCK_ACTIVE_RUN = """
UPDATE runs SET version = version + 1
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND deleted_time IS NULL
RETURNING true
"""

# The values of the params that exist among (run, key) pairs. A batch may name thousands; of a long
# value there is only the beginning, with the digest of the whole.
FIND_PARAMS = f"""
SELECT p.run_id, p.key, left(p.value, {LONG_VALUE_LENGTH}),
    CASE WHEN length(p.value) > {LONG_VALUE_LENGTH} THEN sha256(convert_to(p.value, 'UTF8')) END
FROM unnest(%(runs)s::uuid[], %(keys)s::text[]) AS wanted (run_id, key)
JOIN params p ON p.tenant_id = %(tenant)s AND (p.run_id, p.key) = (wanted.run_id, wanted.key)
"""

# The tags that exist among (run, key) pairs.
FIND_TAGS = """
SELECT t.run_id, t.key
FROM unnest(%(runs)s::uuid[], %(keys)s::text[]) AS wanted (run_id, key)
JOIN run_tags t ON t.tenant_id = %(tenant)s AND (t.run_id, t.key) = (wanted.run_id, wanted.key)
"""

# The number of params, or of tags, of each run that has any.
COUNT_PARAMS = """
SELECT run_id, count(*) FROM params
WHERE tenant_id = %(tenant)s AND run_id = ANY(%(runs)s::uuid[]) GROUP BY run_id
"""
COUNT_TAGS = COUNT_PARAMS.replace("FROM params", "FROM run_tags")

# The logged models that exist. The lock keeps them until the rows that refer to them are committed;
# the foreign keys of those rows would take it as well.
FIND_MODELS = """
SELECT model_id FROM logged_models
WHERE tenant_id = %(tenant)s AND model_id = ANY(%(models)s::text[]) AND deleted_time IS NULL
ORDER BY model_id FOR KEY SHARE
"""

# Insert the params that are new. Under the run's lock it was checked that the others have the same
# value.
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

# Set tags, or insert params, of one run, where it is active and has room for as many more, and no
# param has another value. Otherwise nothing is written, and there is no row. The run's lock is held
# since before the statement began.
SET_TAGS_OF_RUN = """
WITH run AS MATERIALIZED (
    SELECT run_id FROM runs
    WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND deleted_time IS NULL AND (
        SELECT count(*) FROM run_tags WHERE tenant_id = %(tenant)s AND run_id = %(run)s
    ) + cardinality(%(keys)s::text[]) <= %(limit)s
),
written AS (
    INSERT INTO run_tags (tenant_id, run_id, key, value)
    SELECT %(tenant)s, run_id, key, value
    FROM run, unnest(%(keys)s::text[], %(values)s::text[]) AS new (key, value)
    ON CONFLICT (tenant_id, run_id, key) DO UPDATE SET value = EXCLUDED.value
)
SELECT true FROM run
"""
INSERT_PARAMS_OF_RUN = """
WITH run AS MATERIALIZED (
    SELECT run_id FROM runs
    WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND deleted_time IS NULL AND (
        SELECT count(*) FROM params WHERE tenant_id = %(tenant)s AND run_id = %(run)s
    ) + cardinality(%(keys)s::text[]) <= %(limit)s AND NOT EXISTS (
        SELECT FROM unnest(%(keys)s::text[], %(values)s::text[]) AS new (key, value)
        JOIN params p ON p.tenant_id = %(tenant)s AND p.run_id = %(run)s AND p.key = new.key
        WHERE p.value <> new.value
    )
),
written AS (
    INSERT INTO params (tenant_id, run_id, key, value)
    SELECT %(tenant)s, run_id, key, value
    FROM run, unnest(%(keys)s::text[], %(values)s::text[]) AS new (key, value)
    ON CONFLICT DO NOTHING
)
SELECT true FROM run
"""

# Rename runs: the tag mlflow.runName is stored as the run's name.
RENAME_RUNS = """
UPDATE runs SET name = renamed.name, has_name_tag = true
FROM unnest(%(runs)s::uuid[], %(names)s::text[]) AS renamed (run_id, name)
WHERE runs.tenant_id = %(tenant)s AND runs.run_id = renamed.run_id
"""

# Insert runs, with their params and tags, into those of the experiments that are active; the lock
# keeps them active until the commit. The rows are the experiments that exist.
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

# Lock a run, for changes that do not go through the batch writer.
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
    has_name_tag = has_name_tag OR %(name)s IS NOT NULL,
    version = version + 1
WHERE tenant_id = %(tenant)s AND run_id = %(run)s
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

# Delete the tag mlflow.runName, which is stored as the run's name. The name stays, as in MLflow.
HIDE_NAME_TAG = """
UPDATE runs SET has_name_tag = false
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND has_name_tag
RETURNING run_id
"""

READ_TAG = """
SELECT value FROM run_tags WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND key = %(key)s
"""

# Set the timeout of a search and how it is planned, for its transaction only. A search that fixes
# its plan is planned once for all values, since planning takes several times as long as running it.
CONFIGURE_SEARCH = """
SELECT set_config('statement_timeout', %(timeout)s, true),
    set_config('plan_cache_mode', %(plans)s, true)
"""

# The versions of the runs that exist.
READ_VERSIONS = """
SELECT run_id, version FROM runs
WHERE tenant_id = %(tenant)s AND run_id = ANY(%(runs)s::uuid[])
"""

# About how many bytes the runs take as JSON: the lengths of their texts, and an estimate for
# numbers and field names. Postgres knows the length of a text without reading it.
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

# The runs of a page and what belongs to them, one statement for each kind. The rows are sorted, so
# that answers are.
READ_RUNS = """
SELECT r.run_id, r.experiment_id, r.name, r.user_id, r.status, r.start_time, r.end_time,
    r.deleted_time, r.version, r.has_name_tag, e.artifact_location
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

# The same with the beginnings of long values, for a page that would be too large.
READ_SHORTENED_SIZES = READ_SIZES.replace(
    "octet_length(value)", f"LEAST(octet_length(value), {4 * SHORTENED_LENGTH})"
)
READ_SHORTENED_PARAMS = READ_PARAMS.replace(
    "key, value",
    f"key, CASE WHEN length(value) > {SHORTENED_LENGTH}"
    f" THEN left(value, {SHORTENED_LENGTH}) || '…' ELSE value END",
)
READ_SHORTENED_TAGS = READ_SHORTENED_PARAMS.replace("FROM params", "FROM run_tags")
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
