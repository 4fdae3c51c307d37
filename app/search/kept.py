"""Searches of runs as text for the driver, kept for whoever asks the same again.

To parse a filter, write the statement and compile it takes some milliseconds, which is more than
Postgres needs to run it; and the same search comes back, from a page that refreshes itself.
"""

from collections.abc import Sequence
from functools import lru_cache

from app.lifecycle import ViewType
from app.search.page import CompiledPage
from app.search.queries import search_runs
from app.tenancy.tenant import Tenant

# One takes some 10 kB; long ones are not kept.
MAX_KEPT = 200
MAX_LENGTH = 2_000


def find_runs(
    tenant: Tenant,
    experiment_ids: Sequence[int] | None,
    *,
    filter: str,
    order_by: Sequence[str],
    view: ViewType,
    statuses: Sequence[str] = (),
    limit: int,
    page_token: str | None = None,
    offset: int = 0,
    tenant_tag: bool,
) -> CompiledPage:
    """`search_runs`, whose arguments and errors these are, compiled."""
    ids = None if experiment_ids is None else tuple(experiment_ids)
    length = len(filter) + sum(map(len, order_by)) + len(page_token or "") + 20 * len(ids or ())
    find = _kept if length <= MAX_LENGTH else _compiled
    return find(
        tenant,
        ids,
        filter,
        tuple(order_by),
        view,
        tuple(statuses),
        limit,
        page_token,
        offset,
        tenant_tag,
    )


def _compiled(
    tenant: Tenant,
    experiment_ids: tuple[int, ...] | None,
    filter: str,
    order_by: tuple[str, ...],
    view: ViewType,
    statuses: tuple[str, ...],
    limit: int,
    page_token: str | None,
    offset: int,
    tenant_tag: bool,
) -> CompiledPage:
    page = search_runs(
        tenant,
        experiment_ids,
        filter=filter,
        order_by=order_by,
        view=view,
        statuses=statuses,
        limit=limit,
        page_token=page_token,
        offset=offset,
        tenant_tag=tenant_tag,
    )
    return page.compiled()


_kept = lru_cache(MAX_KEPT)(_compiled)
