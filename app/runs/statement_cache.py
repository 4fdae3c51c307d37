"""LRU cache of compiled run-search SQL.

To parse a filter, build its statement and compile it takes some milliseconds, more than Postgres
needs to run it. The same search comes back, as from a page that refreshes itself.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from app.kernel.tenant import Tenant
from app.runs.search import search_runs
from app.search.page import CompiledPage

# An entry takes some 10 kB. Searches with arguments of more than MAX_LENGTH characters are compiled
# each time.
MAX_ENTRIES = 200
MAX_LENGTH = 2_000


def compiled_run_search(
    tenant: Tenant,
    experiment_ids: Sequence[int] | None,
    *,
    filter: str,
    order_by: Sequence[str],
    statuses: Sequence[str] = (),
    page_token: str | None = None,
    **others: Any,
) -> CompiledPage:
    """The compiled page of `search_runs`, which documents the arguments and the errors."""
    ids = None if experiment_ids is None else tuple(experiment_ids)
    length = len(filter) + sum(map(len, order_by)) + len(page_token or "") + 20 * len(ids or ())
    compile_page = _cached if length <= MAX_LENGTH else _compile
    return compile_page(
        tenant,
        ids,
        filter=filter,
        order_by=tuple(order_by),
        statuses=tuple(statuses),
        page_token=page_token,
        **others,
    )


def _compile(tenant: Tenant, ids: tuple[int, ...] | None, **search: Any) -> CompiledPage:
    return search_runs(tenant, ids, **search).compiled()


_cached = lru_cache(MAX_ENTRIES)(_compile)
