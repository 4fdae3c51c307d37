"""How many keys a run may still get: whoever reads a run reads all of them.

Asked under the locks of the runs. A write to series that exist asks for nothing.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg

from app.kernel import validation
from app.kernel.errors import InvalidValueError
from app.kernel.tenant import Tenant
from app.runs import sql
from app.runs.entities import RunKey

LIMITS = {
    "metrics": validation.MAX_METRICS,
    "params": validation.MAX_PARAMS,
    "tags": validation.MAX_TAGS,
}
_COUNT = {"metrics": sql.COUNT_SERIES, "params": sql.COUNT_PARAMS, "tags": sql.COUNT_TAGS}

Counted = psycopg.AsyncCursor[tuple[Any, ...]]


@dataclass(slots=True)
class Room:
    """The keys that runs near a limit may still get, by kind and run; and those that they have
    among the keys that are written. Of nearly all flushes, empty."""

    left: dict[tuple[str, str], int] = field(default_factory=dict)
    known: dict[str, set[RunKey]] = field(default_factory=dict)

    def take(self, run_id: str, wanted: Mapping[str, Iterable[str]]) -> InvalidValueError | None:
        """Room for all keys that a run is to have, by kind, or what stands against it."""
        taken: dict[str, set[RunKey]] = {}
        for kind, keys in wanted.items():
            left = self.left.get((kind, run_id))
            if left is None:
                continue
            taken[kind] = {(run_id, key) for key in keys} - self.known[kind]
            if len(taken[kind]) > left:
                return validation.too_many("A run", kind, LIMITS[kind])
        for kind, new in taken.items():
            self.left[kind, run_id] -= len(new)
            self.known[kind] |= new
        return None


async def count(
    connection: psycopg.AsyncConnection, tenant: Tenant, kind: str, keys: Iterable[RunKey]
) -> Counted:
    """Ask how many metrics, params or tags the runs of these keys have."""
    runs = list({run_id for run_id, _ in keys})
    return await connection.execute(_COUNT[kind], {"tenant": tenant.id, "runs": runs})


async def read(
    connection: psycopg.AsyncConnection,
    tenant: Tenant,
    asked: Mapping[str, Collection[RunKey]],
    counted: Mapping[str, Counted],
    known: Mapping[str, Iterable[RunKey]],
) -> Room:
    """What room there is for the keys asked for, from what `count` found; of metrics and params
    it is known which are there already, tags are looked up where there may be too many."""
    room = Room()
    for kind, cursor in counted.items():
        stored = {number.hex: held for number, held in await cursor.fetchall()}
        for run_id, wanted in Counter(run_id for run_id, _ in asked[kind]).items():
            left = LIMITS[kind] - stored.get(run_id, 0)
            if wanted > left:
                room.left[kind, run_id] = max(0, left)
                room.known[kind] = set(known.get(kind, ()))
    if "tags" in room.known:
        keys = [key for key in asked["tags"] if ("tags", key[0]) in room.left]
        cursor = await connection.execute(
            sql.FIND_TAGS,
            {
                "tenant": tenant.id,
                "runs": [run_id for run_id, _ in keys],
                "keys": [key for _, key in keys],
            },
        )
        room.known["tags"] = {(number.hex, key) for number, key in await cursor.fetchall()}
    return room


async def check_tags(
    connection: psycopg.AsyncConnection, tenant: Tenant, run_id: str, keys: Collection[str]
) -> None:
    """Raises InvalidValueError where a run, which is locked, has no room for tags of these keys."""
    asked = {(run_id, key) for key in keys}
    if asked:
        counted = await count(connection, tenant, "tags", asked)
        room = await read(connection, tenant, {"tags": asked}, {"tags": counted}, {})
        error = room.take(run_id, {"tags": keys})
        if error:
            raise error
