"""The artifact index in SQL.

Paths sort by bytes, and hold no control characters: so everything below `folder/` lies between
`folder/` and `folder0` ('0' follows '/'), and `path || chr(1)` is the first path after `path`.
"""

# A run or a model that artifacts may be stored for, and what else stands in the way of `path`:
# a file where it needs a folder, or a folder where it would be the file. No row: no such owner.
_IN_THE_WAY = """
    EXISTS (SELECT FROM artifacts WHERE tenant_id = %(tenant)s AND path = ANY(%(parents)s)),
    EXISTS (
        SELECT FROM artifacts
        WHERE tenant_id = %(tenant)s AND path > %(path)s || '/' AND path < %(path)s || '0'
    )
"""
CHECK_RUN = f"""
SELECT deleted_time, {_IN_THE_WAY} FROM runs
WHERE tenant_id = %(tenant)s AND run_id = %(owner)s AND experiment_id = %(experiment)s
"""
CHECK_MODEL = f"""
SELECT deleted_time, {_IN_THE_WAY} FROM logged_models
WHERE tenant_id = %(tenant)s AND model_id = %(owner)s AND experiment_id = %(experiment)s
"""

RECORD = """
INSERT INTO artifacts (tenant_id, path, size, etag, content_type, updated_time)
VALUES (%(tenant)s, %(path)s, %(size)s, %(etag)s, %(content_type)s, %(updated_time)s)
ON CONFLICT (tenant_id, path) DO UPDATE SET
    size = EXCLUDED.size,
    etag = EXCLUDED.etag,
    content_type = EXCLUDED.content_type,
    updated_time = EXCLUDED.updated_time
"""

GET = """
SELECT path, size, etag, content_type, updated_time FROM artifacts
WHERE tenant_id = %(tenant)s AND path = %(path)s
"""

# What lies directly in a folder, after `after`: one index probe an entry, which skips whatever
# a sub-folder holds. Rows are (path, size or null for a folder, content_type, updated_time).
LIST = """
WITH RECURSIVE entry (path) AS (
    (
        SELECT path FROM artifacts
        WHERE tenant_id = %(tenant)s AND path >= %(after)s AND path < %(folder)s || '0'
        ORDER BY path LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT a.path FROM artifacts a
        WHERE a.tenant_id = %(tenant)s
            AND a.path >= CASE
                WHEN strpos(substr(entry.path, %(start)s), '/') > 0
                THEN %(folder)s || '/' || split_part(substr(entry.path, %(start)s), '/', 1) || '0'
                ELSE entry.path || chr(1)
            END
            AND a.path < %(folder)s || '0'
        ORDER BY a.path LIMIT 1
    )
    FROM entry WHERE entry.path IS NOT NULL
),
named AS (
    SELECT path, split_part(substr(path, %(start)s), '/', 1) AS name,
        strpos(substr(path, %(start)s), '/') > 0 AS is_dir
    FROM entry WHERE path IS NOT NULL
    LIMIT %(limit)s
)
SELECT %(folder)s || '/' || named.name, CASE WHEN NOT is_dir THEN a.size END,
    CASE WHEN NOT is_dir THEN a.content_type END, CASE WHEN NOT is_dir THEN a.updated_time END
FROM named JOIN artifacts a ON a.tenant_id = %(tenant)s AND a.path = named.path
ORDER BY a.path
"""

# Every file below a folder, in order.
WALK = """
SELECT path, size, etag, content_type, updated_time FROM artifacts
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

# Forget some of the files at or below a path; rows are their paths.
FORGET = """
DELETE FROM artifacts
WHERE tenant_id = %(tenant)s AND path IN (
    SELECT path FROM artifacts
    WHERE tenant_id = %(tenant)s
        AND (path = %(path)s OR (path > %(path)s || '/' AND path < %(path)s || '0'))
    ORDER BY path LIMIT %(limit)s
)
RETURNING path
"""
