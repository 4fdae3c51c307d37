"""The artifact index in SQL.

Paths sort by bytes, and hold no control characters: so everything below `folder/` lies between
`folder/` and `folder0` ('0' follows '/'), and `path || chr(1)` is the first path after `path`.
"""

_COLUMNS = "path, size, etag, content_type, updated_time, object_id, encode(sha256, 'hex')"

# What stands in the way of a file: another where it needs a folder, or a folder in its own place.
_IN_THE_WAY = """
    EXISTS (
        SELECT FROM artifacts WHERE tenant_id = %(tenant)s AND path = ANY({parents})
    ) AS through_file,
    EXISTS (
        SELECT FROM artifacts
        WHERE tenant_id = %(tenant)s AND path > {path} || '/' AND path < {path} || '0'
    ) AS is_folder
"""

# Whether a file can be stored for a run or a model. No row: no such owner.
_CHECK = """
SELECT deleted_time, {in_the_way} FROM {owners}
WHERE tenant_id = %(tenant)s AND {key} = %(owner)s AND experiment_id = %(experiment)s
"""

# Hold what must not change while files are recorded: the paths of files alone, those that they need
# as folders for sharing. Locking is a statement before RECORD, which then sees what others
# committed. The locks go with the transaction.
LOCK_PATHS = """
SELECT CASE
    WHEN alone THEN pg_advisory_xact_lock(hashtextextended(path, %(tenant)s))
    ELSE pg_advisory_xact_lock_shared(hashtextextended(path, %(tenant)s))
END
FROM json_to_recordset(%(places)s) AS place (path text, alone boolean)
"""

# Enter each file unless something stands in its way: none of them is in another's. Rows, in the
# order of the files, are whether there is such an owner, when it was deleted, what stands in the
# way, and the row that was replaced, as (is there one, its object).
_RECORD = """
WITH file AS MATERIALIZED (
    SELECT
        given.*, owner.{key} IS NOT NULL AS owned, owner.deleted_time, {in_the_way},
        replaced.path IS NOT NULL AS replaces, replaced.object_id AS replaced_id
    FROM ROWS FROM (
        json_to_recordset(%(files)s) AS (
            owner {type}, experiment bigint, path text, parents text[], size bigint, etag text,
            content_type text, updated_time bigint, object_id uuid, sha256 text
        )
    ) WITH ORDINALITY AS given (
        owner, experiment, path, parents, size, etag, content_type, updated_time, object_id,
        sha256, position
    )
    LEFT JOIN {owners} AS owner ON owner.tenant_id = %(tenant)s
        AND owner.{key} = given.owner AND owner.experiment_id = given.experiment
    LEFT JOIN artifacts AS replaced
        ON replaced.tenant_id = %(tenant)s AND replaced.path = given.path
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

# What was reserved for files is used by them from now on.
_RELEASED = """,
released AS (
    DELETE FROM artifact_reservations
    WHERE tenant_id = %(tenant)s AND object_id IN (
        SELECT object_id FROM file
        WHERE owned AND deleted_time IS NULL AND NOT (through_file OR is_folder)
    )
)"""

_ONE = _IN_THE_WAY.format(path="%(path)s", parents="%(parents)s")
_EACH = _IN_THE_WAY.format(path="given.path", parents="given.parents")
_OF_RUNS = {"owners": "runs", "key": "run_id", "type": "uuid"}
_OF_MODELS = {"owners": "logged_models", "key": "model_id", "type": "text"}
CHECK_RUN = _CHECK.format(in_the_way=_ONE, **_OF_RUNS)
CHECK_MODEL = _CHECK.format(in_the_way=_ONE, **_OF_MODELS)
RECORD_OF_RUNS = _RECORD.format(in_the_way=_EACH, released="", **_OF_RUNS)
RECORD_OF_MODELS = _RECORD.format(in_the_way=_EACH, released="", **_OF_MODELS)
RECORD_RESERVED_OF_RUNS = _RECORD.format(in_the_way=_EACH, released=_RELEASED, **_OF_RUNS)
RECORD_RESERVED_OF_MODELS = _RECORD.format(in_the_way=_EACH, released=_RELEASED, **_OF_MODELS)

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

# Held to the end of the transaction, so that two that look for room take it one after the other.
LOCK_ROOM = "SELECT pg_advisory_xact_lock(hashtextextended('tracking.artifacts', %(tenant)s))"

# Reserve `wanted` bytes, or what is left of the limit if that is at least `least`. What the object
# and part had reserved before, and what they replace (all parts: null), is not counted. The row is
# (the bytes, null where there is no room; the bytes of all artifacts; those reserved by others).
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

RENEW = """
UPDATE artifact_reservations SET expiry_time = %(expiry)s
WHERE tenant_id = %(tenant)s AND object_id = %(object)s AND part = %(part)s
"""

RELEASE = """
DELETE FROM artifact_reservations WHERE tenant_id = %(tenant)s AND object_id = %(object)s
"""

RELEASE_PARTS = """
DELETE FROM artifact_reservations
WHERE tenant_id = %(tenant)s AND object_id = %(object)s AND part > 0
"""

# What was reserved for a part on its way is the part's from now on. Which of two that come at once
# the store has kept is not known: the larger one counts.
SETTLE = """
WITH arrived AS (
    DELETE FROM artifact_reservations WHERE tenant_id = %(tenant)s AND object_id = %(arrived)s
)
INSERT INTO artifact_reservations AS r (tenant_id, object_id, part, bytes, expiry_time)
VALUES (%(tenant)s, %(object)s, %(part)s, %(bytes)s, %(expiry)s)
ON CONFLICT (tenant_id, object_id, part) DO UPDATE SET
    bytes = greatest(r.bytes, EXCLUDED.bytes), expiry_time = EXCLUDED.expiry_time
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
