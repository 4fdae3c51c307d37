"""Writes the audit log, in the transaction of the action: both are committed, or neither."""

from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.pipeline import Pipeline
from app.kernel.clock import now_ms
from app.kernel.ids import new_uuid
from app.kernel.request_context import current
from app.kernel.tenant import Tenant
from app.observability.logs import printable

COMMAND_LINE = "command-line"

INSERT = """
INSERT INTO audit_log
    (tenant_id, event_id, created_time, tenant, actor, action, target, request_id, details)
VALUES (
    %(tenant_id)s, %(event_id)s, %(created_time)s, %(tenant)s, %(actor)s, %(action)s, %(target)s,
    %(request_id)s, %(details)s
)
"""


async def record(
    connection: AsyncConnection | Pipeline,
    tenant: Tenant,
    action: str,
    target: str,
    **details: Any,
) -> None:
    """Record an action of the current request, in a transaction of `tenant`.

    `action` is `object.verb`, as `run.delete`; `target` the object's id or name; `details` are
    JSON values, and never secrets.
    """
    values = row(tenant, action, target, details)
    if isinstance(connection, AsyncConnection):
        await connection.exec_driver_sql(INSERT, values)
    else:
        await connection.execute(INSERT, values)


def row(tenant: Tenant, action: str, target: str, details: dict[str, Any]) -> dict[str, Any]:
    """The parameters of INSERT. Outside a request the actor is the command line."""
    request = current()
    caller = request.caller if request else None
    return {
        "tenant_id": tenant.id,
        "event_id": new_uuid(),
        "created_time": now_ms(),
        "tenant": tenant.slug,
        "actor": printable(caller.name) if caller else COMMAND_LINE,
        "action": action,
        "target": target,
        "request_id": request.request_id if request else None,
        "details": Jsonb(details),
    }
