"""SQL of the artifact index and of quota reservations.

Paths sort by bytes and hold no control characters. So the paths below `folder/` are those between
`folder/` and `folder0` ('0' follows '/'), and `path || chr(1)` is the first path after `path`.

Where such a bound depends on a row, it is a column of that row, which `OFFSET 0` keeps the planner
from taking apart: under row-level security, PostgreSQL 15 uses no index for a comparison with a
function of columns, because the function might give away rows that the policy hides.
"""

_COLUMNS = "path, size, etag, content_type, updated_time, object_id, encode(sha256, 'hex')"

# Whether a file can't be stored at a path: the path leads through a file, or is a folder.
_OBSTACLES = """
    EXISTS (
        SELECT FROM artifacts WHERE tenant_id = %(tenant)s AND path = ANY({parents})
    ) AS through_file,
    EXISTS (
        SELECT FROM artifacts
        WHERE tenant_id = %(tenant)s AND path > {low} AND path < {high}
    ) AS is_folder
"""

# Several folders, with the bounds of the paths below them.
_FOLDERS = """
(
    SELECT folder, position, folder || '/' AS low, folder || '0' AS high
    FROM unnest({folders}::text[]) WITH ORDINALITY AS given (folder, position)
    OFFSET 0
) AS wanted
"""

# Whether a file can be stored for a run or a logged model. No row: there is no such owner.
_CHECK = """
SELECT deleted_time, {obstacles} FROM {owners}
WHERE tenant_id = %(tenant)s AND {key} = %(owner)s AND experiment_id = %(experiment)s
"""

# Lock the paths that must not change while files are written: exclusively the paths of the files,
# shared the paths of their folders. This is a statement of its own, so that UPSERT_FILES sees what
# other transactions committed before the locks were granted. The locks end with the transaction.
LOCK_PATHS = """
SELECT CASE
    WHEN alone THEN pg_advisory_xact_lock(hashtextextended(path, %(tenant)s))
    ELSE pg_advisory_xact_lock_shared(hashtextextended(path, %(tenant)s))
END
FROM json_to_recordset(%(places)s) AS place (path text, alone boolean)
"""

# Write the row of each file whose owner is active and whose path is unobstructed; no file of one
# statement obstructs another. Rows, in the order of the files: whether the owner exists, when it
# was deleted, the obstacles, whether a row was replaced, and the object of that row. LIMIT 1 makes
# probes of the joins, which else might read all rows of the tenant, for lack of statistics.
_UPSERT = """
WITH file AS MATERIALIZED (
    SELECT
        given.*, owner.{key} IS NOT NULL AS owned, owner.deleted_time, {obstacles},
        replaced.path IS NOT NULL AS replaces, replaced.object_id AS replaced_id
    FROM (
        SELECT *, path || '/' AS low, path || '0' AS high
        FROM ROWS FROM (
            json_to_recordset(%(files)s) AS (
                owner {type}, experiment bigint, path text, parents text[], size bigint, etag text,
                content_type text, updated_time bigint, object_id uuid, sha256 text
            )
        ) WITH ORDINALITY AS file (
            owner, experiment, path, parents, size, etag, content_type, updated_time, object_id,
            sha256, position
        )
        OFFSET 0
    ) AS given
    LEFT JOIN LATERAL (
        SELECT {key}, deleted_time FROM {owners}
        WHERE tenant_id = %(tenant)s AND {key} = given.owner AND experiment_id = given.experiment
        LIMIT 1
    ) AS owner ON true
    LEFT JOIN LATERAL (
        SELECT path, object_id FROM artifacts
        WHERE tenant_id = %(tenant)s AND path = given.path LIMIT 1
    ) AS replaced ON true
),
written AS (
    INSERT INTO artifacts
        (tenant_id, path, size, etag, content_type, updated_time, object_id, sha256)
    SELECT %(tenant)s, path, size, etag, content_type, updated_time, object_id,
        decode(sha256, 'hex')
    FROM file WHERE owned AND deleted_time IS NULL AND NOT (through_file OR is_folder)
    ON CONFLICT (tenant_id, path) DO UPDATE SET
        size = EXCLUDED.size,
        etag = EXCLUDED.etag,
        content_type = EXCLUDED.content_type,
        updated_time = EXCLUDED.updated_time,
        object_id = EXCLUDED.object_id,
        sha256 = EXCLUDED.sha256
){released}
SELECT owned, deleted_time, through_file, is_folder, replaces, replaced_id
FROM file ORDER BY position
"""

# The bytes of a written file count as used, so its reservation is deleted.
_RELEASED = """,
released AS (
    DELETE FROM artifact_reservations
    WHERE tenant_id = %(tenant)s AND object_id IN (
        SELECT object_id FROM file
        WHERE owned AND deleted_time IS NULL AND NOT (through_file OR is_folder)
    )
)"""

_OBSTACLES_OF_PATH = _OBSTACLES.format(
    low="%(path)s || '/'", high="%(path)s || '0'", parents="%(parents)s"
)
_OBSTACLES_OF_ROW = _OBSTACLES.format(low="given.low", high="given.high", parents="given.parents")
_OWNERS = {
    "run": {"owners": "runs", "key": "run_id", "type": "uuid"},
    "logged_model": {"owners": "logged_models", "key": "model_id", "type": "text"},
}

# By the kind of owner. UPSERT_RESERVED_FILES is for files of which some have reservations.
CHECK_PATH = {
    kind: _CHECK.format(obstacles=_OBSTACLES_OF_PATH, **names) for kind, names in _OWNERS.items()
}
UPSERT_FILES = {
    kind: _UPSERT.format(obstacles=_OBSTACLES_OF_ROW, released="", **names)
    for kind, names in _OWNERS.items()
}
UPSERT_RESERVED_FILES = {
    kind: _UPSERT.format(obstacles=_OBSTACLES_OF_ROW, released=_RELEASED, **names)
    for kind, names in _OWNERS.items()
}

GET = f"""
SELECT {_COLUMNS} FROM artifacts WHERE tenant_id = %(tenant)s AND path = %(path)s
"""

# Files and folders directly in a folder, from `after` on: a loose index scan with one probe for
# each entry, which skips the contents of subfolders. `following` is where the next probe starts.
# Rows are (path, is_dir, size, content_type, updated_time, sha256); in the row of a folder, the
# rest is that of its first file.
_ENTRY = """
    SELECT path, size, content_type, updated_time, sha256, CASE
        WHEN strpos(substr(path, %(start)s), '/') > 0
        THEN %(folder)s || '/' || split_part(substr(path, %(start)s), '/', 1) || '0'
        ELSE path || chr(1)
    END AS following
    FROM artifacts
    WHERE tenant_id = %(tenant)s AND path >= {after} AND path < %(folder)s || '0'
    ORDER BY path LIMIT 1
"""
LIST = f"""
WITH RECURSIVE entry AS (
    ({_ENTRY.format(after="%(after)s")})
    UNION ALL
    SELECT next.*
    FROM entry CROSS JOIN LATERAL ({_ENTRY.format(after="entry.following")}) AS next
)
SELECT %(folder)s || '/' || split_part(substr(path, %(start)s), '/', 1),
    strpos(substr(path, %(start)s), '/') > 0,
    size, content_type, updated_time, encode(sha256, 'hex')
FROM entry LIMIT %(limit)s
"""

# Files that MLflow's client may show at a path, or below it: those at the paths `names` or below
# them, and those that have a percent sign where the path has another character. The latter are
# probes of the index, those with the most characters in common first ('&' follows the sign).
SHOWN_AT = f"""
SELECT path FROM artifacts WHERE tenant_id = %(tenant)s AND path = ANY(%(names)s)
UNION ALL
SELECT below.path
FROM {_FOLDERS.format(folders="%(names)s")}
CROSS JOIN LATERAL (
    SELECT path FROM artifacts
    WHERE tenant_id = %(tenant)s AND path > low AND path < high
    ORDER BY path LIMIT 1
) below
UNION ALL
(
    SELECT escaped.path
    FROM (
        SELECT left(%(shown)s, common) || '%%' AS low, left(%(shown)s, common) || '&' AS high
        FROM generate_series(length(%(shown)s), %(start)s, -1) AS common
        OFFSET 0
    ) AS begins
    CROSS JOIN LATERAL (
        SELECT path FROM artifacts
        WHERE tenant_id = %(tenant)s AND path >= low AND path < high
        ORDER BY path LIMIT 100
    ) escaped
    LIMIT %(limit)s
)
"""

# Files below a folder, at any depth, in order.
WALK = f"""
SELECT {_COLUMNS} FROM artifacts
WHERE tenant_id = %(tenant)s AND path > %(after)s AND path < %(folder)s || '0'
ORDER BY path LIMIT %(limit)s
"""

# The first files below each of several folders, as (folder, path).
FIRST_FILES = f"""
SELECT folder, a.path
FROM {_FOLDERS.format(folders="%(folders)s")}
CROSS JOIN LATERAL (
    SELECT path FROM artifacts
    WHERE tenant_id = %(tenant)s AND path > low AND path < high
    ORDER BY path LIMIT %(limit)s
) a
ORDER BY folder, a.path
"""

# Delete the files at some paths, and up to `limit` files below them; returns the deleted rows. The
# paths are an array, which is looked up in the index whatever the statistics say.
DELETE_FILES = f"""
DELETE FROM artifacts
WHERE tenant_id = %(tenant)s AND path = ANY(ARRAY(
    SELECT unnest(%(paths)s::text[])
    UNION ALL
    (
        SELECT below.path
        FROM {_FOLDERS.format(folders="%(paths)s")}
        CROSS JOIN LATERAL (
            SELECT path FROM artifacts
            WHERE tenant_id = %(tenant)s AND path > low AND path < high
            ORDER BY path LIMIT %(limit)s
        ) below
        LIMIT %(limit)s
    )
))
RETURNING {_COLUMNS}
"""

# Held to the end of the transaction, so that reservations of a tenant are made one after the other.
LOCK_RESERVATIONS = (
    "SELECT pg_advisory_xact_lock(hashtextextended('tracking.artifacts', %(tenant)s))"
)

# Reserve `wanted` bytes, or what is left of the limit where that is at least `least`. The earlier
# reservation of the same object and part does not count, nor do those that this one replaces
# (`replaced_part` null: all parts). The row is (bytes granted, null where the quota is exceeded;
# bytes used; bytes reserved by others).
RESERVE = """
WITH taken AS MATERIALIZED (
    SELECT
        COALESCE((
            SELECT sum(bytes) FROM artifact_usage WHERE tenant_id = %(tenant)s
        ), 0)::bigint AS used,
        COALESCE((
            SELECT sum(bytes) FROM artifact_reservations
            WHERE tenant_id = %(tenant)s AND expiry_time > %(now)s
                AND (object_id, part) <> (%(object)s, %(part)s)
                AND NOT (object_id = %(replaces)s AND part = COALESCE(%(replaced_part)s, part))
        ), 0)::bigint AS reserved
),
granted AS (
    INSERT INTO artifact_reservations (tenant_id, object_id, part, bytes, expiry_time)
    SELECT %(tenant)s, %(object)s, %(part)s, least(%(wanted)s, %(limit)s - used - reserved),
        %(expiry)s
    FROM taken WHERE used + reserved + %(least)s <= %(limit)s
    ON CONFLICT (tenant_id, object_id, part) DO UPDATE SET
        bytes = EXCLUDED.bytes, expiry_time = EXCLUDED.expiry_time
    RETURNING bytes
)
SELECT (SELECT bytes FROM granted), used, reserved FROM taken
"""

RENEW_RESERVATION = """
UPDATE artifact_reservations SET expiry_time = %(expiry)s
WHERE tenant_id = %(tenant)s AND object_id = %(object)s AND part = %(part)s
"""

DELETE_RESERVATIONS = """
DELETE FROM artifact_reservations WHERE tenant_id = %(tenant)s AND object_id = %(object)s
"""

DELETE_PART_RESERVATIONS = """
DELETE FROM artifact_reservations
WHERE tenant_id = %(tenant)s AND object_id = %(object)s AND part > 0
"""

# Turn the reservation of an upload of a part into that of the stored part. Where two uploads of a
# part end at once, it is unknown which one the store has kept: the larger one counts.
CONVERT_TO_PART = """
WITH arrived AS (
    DELETE FROM artifact_reservations WHERE tenant_id = %(tenant)s AND object_id = %(arrived)s
)
INSERT INTO artifact_reservations AS r (tenant_id, object_id, part, bytes, expiry_time)
VALUES (%(tenant)s, %(object)s, %(part)s, %(bytes)s, %(expiry)s)
ON CONFLICT (tenant_id, object_id, part) DO UPDATE SET
    bytes = greatest(r.bytes, EXCLUDED.bytes), expiry_time = EXCLUDED.expiry_time
"""

# Number and bytes of the files below each of several folders, counted up to `most` + 1 files.
SIZES = f"""
SELECT files, bytes
FROM {_FOLDERS.format(folders="%(folders)s")}
CROSS JOIN LATERAL (
    SELECT count(*) AS files, COALESCE(sum(size), 0)::bigint AS bytes
    FROM (
        SELECT size FROM artifacts
        WHERE tenant_id = %(tenant)s AND path > low AND path < high
        ORDER BY path LIMIT %(most)s + 1
    ) counted
) summed
ORDER BY position
"""
