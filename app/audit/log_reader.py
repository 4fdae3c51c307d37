"""Reads the audit log: one tenant's events, or for operators all events."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from app.db.database import Database
from app.db.pipeline import Pipeline
from app.kernel import validation
from app.kernel.page_tokens import PageTokenCodec
from app.kernel.tenant import NO_TENANT, Tenant

# Keyset pagination, newest first. For one tenant it scans a range of the primary key; for all
# tenants it scans the table, which is small enough.
SELECT = """
SELECT event_id, created_time, tenant, actor, action, target, request_id, details
FROM audit_log
WHERE (%(tenant_id)s::integer IS NULL OR tenant_id = %(tenant_id)s)
    AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
    AND (%(actor)s::text IS NULL OR actor = %(actor)s)
    AND (%(action)s::text IS NULL OR action = %(action)s)
    AND (%(target)s::text IS NULL OR target = %(target)s)
    AND (%(since)s::bigint IS NULL OR created_time >= %(since)s)
    AND (%(until)s::bigint IS NULL OR created_time < %(until)s)
    AND (%(before)s::uuid IS NULL OR event_id < %(before)s)
ORDER BY event_id DESC
LIMIT %(limit)s
"""

# Makes the table's policy show every tenant's rows in this transaction. The application's role may
# set it, as it may set any tenant: policies guard against a statement that forgets its condition.
SHOW_ALL = "SELECT set_config('app.audit', 'all', true)"

# A token holds the id of the last event of its page.
_PAGE_TOKENS: PageTokenCodec[UUID] = PageTokenCodec(
    UUID, "it must be the next_page_token of an earlier page"
)


@dataclass(frozen=True, slots=True)
class Event:
    """An event of the audit log. `created_time` is in epoch milliseconds."""

    event_id: UUID
    created_time: int
    tenant: str
    actor: str
    action: str
    target: str
    request_id: str | None
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions; None is no condition. Times are epoch milliseconds, `since` <= time < `until`."""

    tenant: str | None = None
    actor: str | None = None
    action: str | None = None
    target: str | None = None
    since: int | None = None
    until: int | None = None


class AuditLog:
    """Pages of events, newest first, each with the token of the next page or None.

    Both methods raise InvalidValueError for an invalid token.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_tenant(
        self, tenant: Tenant, wanted: Filter, *, limit: int, page_token: str | None = None
    ) -> tuple[list[Event], str | None]:
        """A page of a tenant's events."""
        values = parameters(wanted, limit + 1, page_token) | {"tenant_id": tenant.id}
        async with self._database.read_pipeline(tenant) as connection:
            return await _page(connection, values, limit)

    async def of_all(
        self, wanted: Filter, *, limit: int, page_token: str | None = None
    ) -> tuple[list[Event], str | None]:
        """A page of all tenants' events."""
        values = parameters(wanted, limit + 1, page_token)
        async with self._database.read_pipeline(NO_TENANT) as connection:
            await connection.execute(SHOW_ALL)
            return await _page(connection, values, limit)


def read_all(owner_url: str, wanted: Filter, limit: int) -> list[Event]:
    """The newest events of all tenants, read on a connection of the schema's owner."""
    with (
        psycopg.connect(owner_url) as connection,
        connection.cursor(row_factory=class_row(Event)) as cursor,
    ):
        cursor.execute(SHOW_ALL)
        return cursor.execute(SELECT, parameters(wanted, limit)).fetchall()


def parameters(wanted: Filter, limit: int, page_token: str | None = None) -> dict[str, Any]:
    """The parameters of SELECT for all tenants. Raises InvalidValueError for invalid text."""
    for name in ("tenant", "actor", "action", "target"):
        validation.text(getattr(wanted, name) or "", name)
    return {
        "tenant_id": None,
        "tenant": wanted.tenant,
        "actor": wanted.actor,
        "action": wanted.action,
        "target": wanted.target,
        "since": wanted.since,
        "until": wanted.until,
        "before": _PAGE_TOKENS.decode(page_token) if page_token else None,
        "limit": limit,
    }


async def _page(
    connection: Pipeline, values: Mapping[str, Any], limit: int
) -> tuple[list[Event], str | None]:
    cursor = await connection.execute(SELECT, values)
    events = [Event(*row) for row in await cursor.fetchall()]
    more = len(events) > limit
    return events[:limit], _PAGE_TOKENS.encode(events[limit - 1].event_id) if more else None
