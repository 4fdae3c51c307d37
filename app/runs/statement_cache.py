"""Searches of runs as text for the driver, kept for whoever asks the same again.

To parse a filter, write the statement and compile it takes some milliseconds, which is more than
Postgres needs to run it; and the same search comes back, from a page that refreshes itself.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from app.kernel.tenant import Tenant
from app.search.page import CompiledPage
from app.search.queries import search_runs

# One takes some 10 kB; long ones are not kept.
MAX_KEPT = 200
MAX_LENGTH = 2_000


def find_runs(
    tenant: Tenant,
    experiment_ids: Sequence[int] | None,
    *,
    filter: str,
    order_by: Sequence[str],
    statuses: Sequence[str] = (),
    page_token: str | None = None,
    **others: Any,
) -> CompiledPage:
    """`search_runs`, whose arguments and errors these are, compiled."""
    ids = None if experiment_ids is None else tuple(experiment_ids)
    length = len(filter) + sum(map(len, order_by)) + len(page_token or "") + 20 * len(ids or ())
    find = _kept if length <= MAX_LENGTH else _compiled
    return find(
        tenant,
        ids,
        filter=filter,
        order_by=tuple(order_by),
        statuses=tuple(statuses),
        page_token=page_token,
        **others,
    )


def _compiled(tenant: Tenant, ids: tuple[int, ...] | None, **search: Any) -> CompiledPage:
    return search_runs(tenant, ids, **search).compiled()


_kept = lru_cache(MAX_KEPT)(_compiled)
