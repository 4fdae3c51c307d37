"""SQL of garbage collection. Every statement acts in one tenant, as the application role."""

from app.kernel.lifecycle import PURGING

# Runs and logged models whose files a version in the registry uses, by the 32 hexadecimal digits
# of their ids: these are kept, since deleting them would break the version. The registration of a
# version locks its run or model, and the experiment, FOR KEY SHARE until it commits
# (`app.registry.version_repository.lock_sources`). So gc checks again once rows are locked FOR
# UPDATE.
_USED = """
used AS MATERIALIZED (
    SELECT DISTINCT found.digits[1] AS id
    FROM model_versions, regexp_matches(storage_location, '([0-9a-f]{32})', 'g') AS found (digits)
    WHERE tenant_id = %(tenant)s
)
"""
_RUN_IS_USED = "replace(runs.run_id::text, '-', '') IN (SELECT id FROM used)"
_MODEL_IS_USED = "substr(logged_models.model_id, 3) IN (SELECT id FROM used)"

# What a purge would delete: (runs, points, runs that are kept).
COUNT_RUNS = f"""
WITH {_USED},
archived AS (
    SELECT run_id, {_RUN_IS_USED} AS kept FROM runs
    WHERE tenant_id = %(tenant)s AND deleted_time <= %(cutoff)s
)
SELECT count(*) FILTER (WHERE NOT kept),
    COALESCE((
        SELECT sum(s.point_count) FROM metric_series s JOIN archived a USING (run_id)
        WHERE s.tenant_id = %(tenant)s AND NOT a.kept
    ), 0)::bigint,
    count(*) FILTER (WHERE kept)
FROM archived
"""
COUNT_MODELS = f"""
WITH {_USED}
SELECT count(*) FILTER (WHERE NOT {_MODEL_IS_USED}), count(*) FILTER (WHERE {_MODEL_IS_USED})
FROM logged_models
WHERE tenant_id = %(tenant)s AND deleted_time <= %(cutoff)s
"""

# Experiments archived before the cutoff, by id. Experiment 0 is kept, since clients that name no
# experiment use it.
ARCHIVED_EXPERIMENTS = """
SELECT experiment_id FROM experiments
WHERE tenant_id = %(tenant)s AND experiment_id > %(after)s AND experiment_id <> 0
    AND deleted_time <= %(cutoff)s
ORDER BY experiment_id LIMIT %(limit)s
"""

# Locks the experiment; no row where it was restored meanwhile. Waits for transactions that create
# runs, models or versions in it, and makes later ones wait.
LOCK_EXPERIMENT = """
SELECT experiment_id FROM experiments
WHERE tenant_id = %(tenant)s AND experiment_id = %(experiment)s AND deleted_time <= %(cutoff)s
FOR UPDATE
"""

# Whether something in the experiment is kept: a run or a logged model that is active, was archived
# after the cutoff, or has files that the registry uses. Locks runs in the order of the write path.
BLOCKED = f"""
WITH {_USED},
locked AS MATERIALIZED (
    SELECT run_id, deleted_time FROM runs
    WHERE tenant_id = %(tenant)s AND experiment_id = %(experiment)s
    ORDER BY run_id FOR NO KEY UPDATE
)
SELECT EXISTS (
    SELECT FROM locked AS runs
    WHERE deleted_time IS NULL OR deleted_time > %(cutoff)s OR {_RUN_IS_USED}
) OR EXISTS (
    SELECT FROM logged_models
    WHERE tenant_id = %(tenant)s AND experiment_id = %(experiment)s
        AND (deleted_time > %(cutoff)s OR {_MODEL_IS_USED})
)
"""

# A marked experiment, run or model can't be restored.
MARK_EXPERIMENT = f"""
UPDATE experiments SET deleted_time = {PURGING}
WHERE tenant_id = %(tenant)s AND experiment_id = %(experiment)s
"""
MARK_RUNS = f"""
UPDATE runs SET deleted_time = {PURGING}, version = version + 1
WHERE tenant_id = %(tenant)s AND experiment_id = %(experiment)s AND deleted_time <> {PURGING}
"""
MARK_MODELS = f"""
UPDATE logged_models SET deleted_time = {PURGING}
WHERE tenant_id = %(tenant)s AND experiment_id = %(experiment)s
"""

# Runs archived before the cutoff that the registry does not use, by id.
ARCHIVED_RUNS = f"""
WITH {_USED}
SELECT run_id, experiment_id FROM runs
WHERE tenant_id = %(tenant)s AND run_id > %(after)s AND deleted_time <= %(cutoff)s
    AND NOT {_RUN_IS_USED}
ORDER BY run_id LIMIT %(limit)s
"""
ARCHIVED_MODELS = f"""
WITH {_USED}
SELECT model_id, experiment_id FROM logged_models
WHERE tenant_id = %(tenant)s AND model_id > %(after)s AND deleted_time <= %(cutoff)s
    AND NOT {_MODEL_IS_USED}
ORDER BY model_id LIMIT %(limit)s
"""
# Active models, which are deleted along with their experiment.
MODELS_OF_EXPERIMENT = """
SELECT model_id FROM logged_models
WHERE tenant_id = %(tenant)s AND experiment_id = %(experiment)s AND deleted_time IS NULL
"""

# An upload that writes its row holds a shared lock on its run's folder. So it commits before the
# run is deleted, and its file is deleted with the others; or it finds no run.
LOCK_FOLDERS = """
SELECT pg_advisory_xact_lock(hashtextextended(folder, %(tenant)s))
FROM unnest(%(folders)s::text[]) AS folder
"""

# Locks archived runs; those that were restored meanwhile are not among the rows. Deleting a run
# cascades to everything but its points: those are too many for one transaction, so the ids of their
# series are kept in purged_series for later.
LOCK_RUNS = """
SELECT run_id FROM runs
WHERE tenant_id = %(tenant)s AND run_id = ANY(%(runs)s::uuid[]) AND deleted_time <= %(cutoff)s
ORDER BY run_id FOR UPDATE
"""
# Of the locked runs, those that no version uses.
UNUSED_RUNS = f"""
WITH {_USED}
SELECT run_id FROM runs
WHERE tenant_id = %(tenant)s AND run_id = ANY(%(runs)s::uuid[]) AND NOT {_RUN_IS_USED}
"""
INSERT_PURGED_SERIES = """
INSERT INTO purged_series (tenant_id, series_id)
SELECT tenant_id, series_id FROM metric_series
WHERE tenant_id = %(tenant)s AND run_id = ANY(%(runs)s::uuid[])
"""
DELETE_RUNS = """
DELETE FROM runs WHERE tenant_id = %(tenant)s AND run_id = ANY(%(runs)s::uuid[])
"""

LOCK_MODELS = """
SELECT model_id FROM logged_models
WHERE tenant_id = %(tenant)s AND model_id = ANY(%(models)s::text[]) AND deleted_time <= %(cutoff)s
ORDER BY model_id FOR UPDATE
"""
DELETE_UNUSED_MODELS = f"""
WITH {_USED}
DELETE FROM logged_models
WHERE tenant_id = %(tenant)s AND model_id = ANY(%(models)s::text[]) AND NOT {_MODEL_IS_USED}
RETURNING model_id
"""

# Cascades to tags and datasets. No row where a run or a model is left: the next gc tries again.
DELETE_EXPERIMENT = f"""
DELETE FROM experiments e
WHERE e.tenant_id = %(tenant)s AND e.experiment_id = %(experiment)s AND e.deleted_time = {PURGING}
    AND NOT EXISTS (
        SELECT FROM runs r WHERE (r.tenant_id, r.experiment_id) = (e.tenant_id, e.experiment_id)
    )
    AND NOT EXISTS (
        SELECT FROM logged_models m
        WHERE (m.tenant_id, m.experiment_id) = (e.tenant_id, e.experiment_id)
    )
RETURNING e.experiment_id
"""

PURGED_SERIES = """
SELECT series_id FROM purged_series WHERE tenant_id = %(tenant)s ORDER BY series_id LIMIT %(limit)s
"""
DELETE_POINTS = """
WITH gone AS (
    DELETE FROM metric_points
    WHERE tenant_id = %(tenant)s AND series_id = ANY(%(series)s::integer[])
        AND ctid = ANY(ARRAY(
            SELECT ctid FROM metric_points
            WHERE tenant_id = %(tenant)s AND series_id = ANY(%(series)s::integer[])
            LIMIT %(limit)s
        ))
    RETURNING 1
)
SELECT count(*) FROM gone
"""
DELETE_PURGED_SERIES = """
DELETE FROM purged_series WHERE tenant_id = %(tenant)s AND series_id = ANY(%(series)s::integer[])
"""

# Folders of runs and models that have files, after `after`: a loose index scan with one probe for
# each. Rows are (folder, whether the run or the model is deleted). As in `app.artifacts.sql`, what
# an index is compared with is a column.
_FILE = """
    SELECT path, array_to_string((string_to_array(path, '/'))[1:5], '/') || '0' AS following
    FROM artifacts
    WHERE tenant_id = %(tenant)s AND path > {after} ORDER BY path LIMIT 1
"""
OWNERS = f"""
WITH RECURSIVE file AS (
    ({_FILE.format(after="%(after)s")})
    UNION ALL
    SELECT next.* FROM file CROSS JOIN LATERAL ({_FILE.format(after="file.following")}) AS next
),
owner AS MATERIALIZED (
    SELECT array_to_string(segments[1:5], '/') AS folder, segments[3] AS kind,
        CASE segments[3] WHEN 'runs' THEN segments[4]::uuid END AS run_id, segments[4] AS model_id
    FROM (SELECT string_to_array(path, '/') AS segments FROM file LIMIT %(limit)s) AS named
)
SELECT folder, CASE kind
    WHEN 'runs' THEN NOT EXISTS (
        SELECT FROM runs r WHERE r.tenant_id = %(tenant)s AND r.run_id = owner.run_id
    )
    ELSE NOT EXISTS (
        SELECT FROM logged_models m WHERE m.tenant_id = %(tenant)s AND m.model_id = owner.model_id
    )
END
FROM owner
"""

# The number of files that were written before a time.
COUNT_FILES = """
SELECT count(*) FROM artifacts WHERE tenant_id = %(tenant)s AND updated_time < %(before)s
"""

# Which of these objects are files: (position in the list from 1 on, when the row was written).
FIND_OBJECTS = """
SELECT wanted.place, a.updated_time
FROM unnest(%(paths)s::text[], %(objects)s::uuid[]) WITH ORDINALITY AS wanted (path, object, place)
JOIN artifacts a
    ON (a.tenant_id, a.path, a.object_id) = (%(tenant)s, wanted.path, wanted.object)
UNION ALL
SELECT wanted.place, a.updated_time
FROM unnest(%(keys)s::text[]) WITH ORDINALITY AS wanted (path, place)
JOIN artifacts a ON (a.tenant_id, a.path) = (%(tenant)s, wanted.path)
WHERE a.object_id IS NULL
"""

FIND_FILE = """
SELECT FROM artifacts
WHERE tenant_id = %(tenant)s AND path = %(path)s
    AND object_id IS NOT DISTINCT FROM %(object)s::uuid
"""

# Delete a file's row, unless the file was replaced.
DELETE_FILE = """
DELETE FROM artifacts
WHERE tenant_id = %(tenant)s AND path = %(path)s
    AND object_id IS NOT DISTINCT FROM %(object)s::uuid
RETURNING path
"""

# Expired reservations are those of killed workers, and of uploads that can't be completed any more.
DELETE_EXPIRED_RESERVATIONS = """
DELETE FROM artifact_reservations
WHERE tenant_id = %(tenant)s AND (object_id, part) IN (
    SELECT object_id, part FROM artifact_reservations
    WHERE tenant_id = %(tenant)s AND expiry_time <= %(now)s
    FOR UPDATE SKIP LOCKED
)
"""
