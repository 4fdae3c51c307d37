"""SQL of quotas and usage."""

# Adds to the day's points; returns no row where the sum would exceed the limit.
TAKE_POINTS = """
INSERT INTO tenant_usage AS u (tenant_id, day, points)
SELECT %(tenant)s, %(day)s, %(count)s WHERE %(count)s <= %(limit)s
ON CONFLICT (tenant_id, day) DO UPDATE SET points = u.points + EXCLUDED.points
WHERE u.points + EXCLUDED.points <= %(limit)s
RETURNING points
"""
POINTS_OF_DAY = "SELECT points FROM tenant_usage WHERE tenant_id = %(tenant)s AND day = %(day)s"

# Held until the transaction ends, so that transactions that count runs and create some take turns.
LOCK_COUNT = "SELECT pg_advisory_xact_lock(hashtextextended('tracking.runs', %(tenant)s))"
COUNT_RUNS = "SELECT count(*) FROM runs WHERE tenant_id = %(tenant)s"
