"""How many metrics, params and tags a run may have.

They are limited because a run is always read with all of them. Callers hold the lock of the run, so
that its keys can be counted. Writes to existing series need no count.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from app.db.pipeline import Cursor, Pipeline
from app.kernel import validation
from app.kernel.errors import InvalidValueError
from app.kernel.tenant import Tenant
from app.metrics.sql import COUNT_SERIES
from app.runs import sql
from app.runs.entities import RunKey

LIMITS = {
    "metrics": validation.MAX_METRICS,
    "params": validation.MAX_PARAMS,
    "tags": validation.MAX_TAGS,
}
_COUNT = {"metrics": COUNT_SERIES, "params": sql.COUNT_PARAMS, "tags": sql.COUNT_TAGS}


@dataclass(slots=True)
class RemainingKeys:
    """How many keys each run may still get, for runs that a batch might bring over a limit.

    Nearly all batches have no such run, and both dicts are empty.
    """

    counts: dict[tuple[str, str], int] = field(default_factory=dict)  # by kind and run id
    existing: dict[str, set[RunKey]] = field(default_factory=dict)  # by kind, of the batch's keys

    def reserve(self, run_id: str, keys: Mapping[str, Iterable[str]]) -> InvalidValueError | None:
        """Count the keys that a write adds to a run, by kind; the error where they are too many."""
        added: dict[str, set[RunKey]] = {}
        for kind, keys_of_kind in keys.items():
            remaining = self.counts.get((kind, run_id))
            if remaining is None:
                continue
            added[kind] = {(run_id, key) for key in keys_of_kind} - self.existing[kind]
            if len(added[kind]) > remaining:
                return validation.too_many("A run", kind, LIMITS[kind])
        for kind, new in added.items():
            self.counts[kind, run_id] -= len(new)
            self.existing[kind] |= new
        return None


async def count_keys(
    connection: Pipeline, tenant: Tenant, kind: str, keys: Iterable[RunKey]
) -> Cursor:
    """Queue the count of the metrics, params or tags that the runs of these keys have."""
    runs = list({run_id for run_id, _ in keys})
    return await connection.execute(_COUNT[kind], {"tenant": tenant.id, "runs": runs})


async def remaining_keys(
    connection: Pipeline,
    tenant: Tenant,
    written: Mapping[str, Collection[RunKey]],
    counts: Mapping[str, Cursor],
    existing: Mapping[str, Iterable[RunKey]],
) -> RemainingKeys:
    """How many keys the runs of a batch may still get.

    `written` are the batch's keys by kind, `counts` the results of `count_keys` for them, and
    `existing` those of the batch's metrics and params that exist. Which of the tags exist is looked
    up here, for runs that might get too many.
    """
    result = RemainingKeys()
    for kind, cursor in counts.items():
        stored = {run_id.hex: count for run_id, count in await cursor.fetchall()}
        for run_id, wanted in Counter(run_id for run_id, _ in written[kind]).items():
            remaining = LIMITS[kind] - stored.get(run_id, 0)
            if wanted > remaining:
                # An imported run may have more keys than the limit.
                result.counts[kind, run_id] = max(0, remaining)
                result.existing[kind] = set(existing.get(kind, ()))
    if "tags" in result.existing:
        keys = [key for key in written["tags"] if ("tags", key[0]) in result.counts]
        cursor = await connection.execute(
            sql.FIND_TAGS,
            {
                "tenant": tenant.id,
                "runs": [run_id for run_id, _ in keys],
                "keys": [key for _, key in keys],
            },
        )
        result.existing["tags"] = {(run_id.hex, key) for run_id, key in await cursor.fetchall()}
    return result


async def check_tags(
    connection: Pipeline, tenant: Tenant, run_id: str, keys: Collection[str]
) -> None:
    """Raises InvalidValueError where tags of these keys would be too many for the run."""
    written = {"tags": {(run_id, key) for key in keys}}
    if keys:
        counts = {"tags": await count_keys(connection, tenant, "tags", written["tags"])}
        remaining = await remaining_keys(connection, tenant, written, counts, {})
        error = remaining.reserve(run_id, {"tags": keys})
        if error:
            raise error
