"""The artifact index in SQL.

Paths sort by bytes, and hold no control characters: so everything below `folder/` lies between
`folder/` and `folder0` ('0' follows '/'), and `path || chr(1)` is the first path after `path`.
"""

_COLUMNS = "path, size, etag, content_type, updated_time, object_id, encode(sha256, 'hex')"

# A run or a model that artifacts may be stored for, and what else stands in the way of `path`:
# a file where it needs a folder, or a folder where it would be the file. No row: no such owner.
_IN_THE_WAY = """
    EXISTS (
        SELECT FROM artifacts WHERE tenant_id = %(tenant)s AND path = ANY(%(parents)s)
    ) AS through_file,
    EXISTS (
        SELECT FROM artifacts
        WHERE tenant_id = %(tenant)s AND path > %(path)s || '/' AND path < %(path)s || '0'
    ) AS is_folder
"""
CHECK_RUN = f"""
SELECT deleted_time, {_IN_THE_WAY} FROM runs
WHERE tenant_id = %(tenant)s AND run_id = %(owner)s AND experiment_id = %(experiment)s
"""
CHECK_MODEL = f"""
SELECT deleted_time, {_IN_THE_WAY} FROM logged_models
WHERE tenant_id = %(tenant)s AND model_id = %(owner)s AND experiment_id = %(experiment)s
"""

# Hold what must not change while a file is recorded: paths are locked from the top down, those
# that it needs as folders for sharing, its own alone. Locking is a statement before RECORD, which
# then sees what others committed. The locks go with the transaction.
LOCK_PATHS = """
SELECT CASE
    WHEN place.path = %(path)s
    THEN pg_advisory_xact_lock(hashtextextended(place.path, %(tenant)s))
    ELSE pg_advisory_xact_lock_shared(hashtextextended(place.path, %(tenant)s))
END
FROM unnest(%(folders)s::text[] || %(path)s::text) AS place (path)
"""

# Enter a file unless something stands in its way. No row: no such owner; else what stands in the
# way, and the row that was replaced, as (is there one, its object).
_RECORD = """
WITH owner AS MATERIALIZED ({check}),
replaced AS MATERIALIZED (
    SELECT object_id FROM artifacts WHERE tenant_id = %(tenant)s AND path = %(path)s
),
written AS (
    INSERT INTO artifacts
        (tenant_id, path, size, etag, content_type, updated_time, object_id, sha256)
    SELECT %(tenant)s, %(path)s, %(size)s, %(etag)s, %(content_type)s, %(updated_time)s,
        %(object)s, decode(%(sha256)s, 'hex')
    FROM owner WHERE NOT (through_file OR is_folder)
    ON CONFLICT (tenant_id, path) DO UPDATE SET
        size = EXCLUDED.size,
        etag = EXCLUDED.etag,
        content_type = EXCLUDED.content_type,
        updated_time = EXCLUDED.updated_time,
        object_id = EXCLUDED.object_id,
        sha256 = EXCLUDED.sha256
)
SELECT through_file, is_folder, EXISTS (SELECT FROM replaced), (SELECT object_id FROM replaced)
FROM owner
"""
RECORD_OF_RUN = _RECORD.format(check=CHECK_RUN)
RECORD_OF_MODEL = _RECORD.format(check=CHECK_MODEL)

GET = f"""
SELECT {_COLUMNS} FROM artifacts WHERE tenant_id = %(tenant)s AND path = %(path)s
"""

# What lies directly in a folder, from `after` on: one index probe an entry, which skips whatever a
# sub-folder holds. Rows are (path, is_dir, size, content_type, updated_time, sha256); what stands
# in the row of a folder is that of the first file in it.
LIST = """
WITH RECURSIVE entry AS (
    (
        SELECT path, size, content_type, updated_time, sha256 FROM artifacts
        WHERE tenant_id = %(tenant)s AND path >= %(after)s AND path < %(folder)s || '0'
        ORDER BY path LIMIT 1
    )
    UNION ALL
    SELECT following.*
    FROM entry CROSS JOIN LATERAL (
        SELECT path, size, content_type, updated_time, sha256 FROM artifacts a
        WHERE a.tenant_id = %(tenant)s
            AND a.path >= CASE
                WHEN strpos(substr(entry.path, %(start)s), '/') > 0
                THEN %(folder)s || '/' || split_part(substr(entry.path, %(start)s), '/', 1) || '0'
                ELSE entry.path || chr(1)
            END
            AND a.path < %(folder)s || '0'
        ORDER BY a.path LIMIT 1
    ) following
)
SELECT %(folder)s || '/' || split_part(substr(path, %(start)s), '/', 1),
    strpos(substr(path, %(start)s), '/') > 0,
    size, content_type, updated_time, encode(sha256, 'hex')
FROM entry LIMIT %(limit)s
"""

# Every file below a folder, in order.
WALK = f"""
SELECT {_COLUMNS} FROM artifacts
WHERE tenant_id = %(tenant)s AND path > %(after)s AND path < %(folder)s || '0'
ORDER BY path LIMIT %(limit)s
"""

# The first files of each of several folders.
FIRST_FILES = """
SELECT folder, a.path
FROM unnest(%(folders)s::text[]) AS folder
CROSS JOIN LATERAL (
    SELECT path FROM artifacts
    WHERE tenant_id = %(tenant)s AND path > folder || '/' AND path < folder || '0'
    ORDER BY path LIMIT %(limit)s
) a
ORDER BY folder, a.path
"""

# Forget some of the files at or below some paths; rows are what is known of them.
FORGET = f"""
DELETE FROM artifacts
WHERE tenant_id = %(tenant)s AND path IN (
    SELECT unnest(%(paths)s::text[])
    UNION ALL
    (
        SELECT below.path
        FROM unnest(%(paths)s::text[]) AS folder
        CROSS JOIN LATERAL (
            SELECT path FROM artifacts
            WHERE tenant_id = %(tenant)s AND path > folder || '/' AND path < folder || '0'
            ORDER BY path LIMIT %(limit)s
        ) below
        LIMIT %(limit)s
    )
)
RETURNING {_COLUMNS}
"""

# The bytes of all artifacts of a tenant.
USED_BYTES = """
SELECT COALESCE(sum(bytes), 0)::bigint FROM artifact_usage WHERE tenant_id = %(tenant)s
"""

# Files and bytes in each of several folders; past `most` files it counts no further.
SIZES = """
SELECT files, bytes
FROM unnest(%(folders)s::text[]) WITH ORDINALITY AS wanted (folder, position)
CROSS JOIN LATERAL (
    SELECT count(*) AS files, COALESCE(sum(size), 0)::bigint AS bytes
    FROM (
        SELECT size FROM artifacts
        WHERE tenant_id = %(tenant)s AND path > folder || '/' AND path < folder || '0'
        ORDER BY path LIMIT %(most)s + 1
    ) counted
) summed
ORDER BY position
"""
