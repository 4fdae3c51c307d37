"""SQL of API keys, which are found and stored as their tenant, under row-level security."""

_KEY = "key_id, name, role, creation_time, expiry_time, revoked_time, last_used_time"

# Makes the transaction that of the tenant that a key names, before the key is verified; of tenant 0
# where no tenant has the slug. Sent in one round trip with FIND_KEY.
SET_TENANT_BY_SLUG = """
SELECT set_config(
    'app.tenant_id', coalesce((SELECT id FROM tenants WHERE slug = %(slug)s), 0)::text, true
)
"""
FIND_KEY = """
SELECT k.secret_hash, k.role, k.expiry_time, k.revoked_time, k.last_used_time,
    t.id, t.requests_per_second, t.points_per_day, t.max_runs, t.max_artifact_bytes
FROM tenants t JOIN api_keys k ON k.tenant_id = t.id
WHERE t.slug = %(slug)s AND k.key_id = %(key)s
"""

# At most once in a period, also where several workers do it at once: `since` is its beginning.
TOUCH_KEY = """
UPDATE api_keys SET last_used_time = %(now)s
WHERE tenant_id = %(tenant)s AND key_id = %(key)s
    AND (last_used_time IS NULL OR last_used_time < %(since)s)
"""

INSERT_KEY = f"""
INSERT INTO api_keys (tenant_id, key_id, name, role, secret_hash, creation_time, expiry_time)
VALUES (%(tenant)s, %(key)s, %(name)s, %(role)s, %(hash)s, %(now)s, %(expiry)s)
RETURNING {_KEY}
"""

GET_KEY = f"""
SELECT {_KEY} FROM api_keys WHERE tenant_id = %(tenant)s AND key_id = %(key)s
"""

LOCK_KEY = f"{GET_KEY} FOR UPDATE"

LIST_KEYS = f"""
SELECT {_KEY} FROM api_keys WHERE tenant_id = %(tenant)s
ORDER BY creation_time DESC, key_id LIMIT %(limit)s OFFSET %(offset)s
"""
COUNT_KEYS = "SELECT count(*) FROM api_keys WHERE tenant_id = %(tenant)s"

REVOKE_KEY = f"""
UPDATE api_keys SET revoked_time = coalesce(revoked_time, %(now)s)
WHERE tenant_id = %(tenant)s AND key_id = %(key)s
RETURNING {_KEY}
"""

EXPIRE_KEY = """
UPDATE api_keys SET expiry_time = least(expiry_time, %(expiry)s)
WHERE tenant_id = %(tenant)s AND key_id = %(key)s
"""
