"""The audit log: a tenant's for its admins, that of all tenants for operators."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from app.api.workbench.dependencies import NeedsTenant, Operator, ServicesDep
from app.api.workbench.json_body import JsonRoute
from app.api.workbench.openapi import answers
from app.api.workbench.schemas import example
from app.api.workbench.types import MAX_TIME, Limit, Shown, Time, shown_time
from app.audit import log_reader
from app.kernel.principal import Role
from app.kernel.tenant import Tenant

router = APIRouter(tags=["admin"], route_class=JsonRoute)

_EVENT = {
    "id": "019ab0c1d2e37f4a8b5c6d7e8f901234",
    "time": "2025-11-23T09:42:00.000Z",
    "tenant": "acme-corp",
    "actor": "trk_acme-corp_1f0c63a9be52",
    "action": "run.delete",
    "target": "018f3f7e5a6c7b2d9e4f1a2b3c4d5e6f",
    "request_id": "6f1c0a9b3d2e-1a7",
    "details": {},
}


class AuditQuery(BaseModel):
    """Which events are asked for."""

    model_config = ConfigDict(extra="forbid")

    actor: str | None = Field(
        default=None, description="A key's prefix, `jwt:` and a subject, or `command-line`."
    )
    action: str | None = Field(
        default=None, description="As `run.delete`.", examples=["key.create"]
    )
    target: str | None = Field(default=None, description="The id or the name of a thing.")
    since: int | None = Field(default=None, ge=0, le=MAX_TIME, description="Epoch milliseconds.")
    until: int | None = Field(default=None, ge=0, le=MAX_TIME, description="Not within.")
    limit: Limit = 100
    page_token: str | None = Field(
        default=None, description="The `next_page_token` of the page before."
    )

    def wanted(self, tenant: str | None = None) -> log_reader.Filter:
        return log_reader.Filter(
            tenant, self.actor, self.action, self.target, self.since, self.until
        )


class AuditOfAllQuery(AuditQuery):
    tenant: str | None = Field(default=None, description="One that was deleted, too.")


class Event(Shown):
    """Something that was done, and who did it."""

    model_config = ConfigDict(json_schema_extra=example(_EVENT))

    id: str
    time: Time
    tenant: str
    actor: str
    action: str
    target: str
    request_id: str | None = Field(description="Null for what a command did.")
    details: dict[str, Any]


class EventPage(Shown):
    """Events, the newest first."""

    model_config = ConfigDict(
        json_schema_extra=example({"events": [_EVENT], "next_page_token": None})
    )

    events: list[Event]
    next_page_token: str | None


@router.get("/audit", summary="The audit log of the tenant", responses=answers())
async def list_audit(
    tenant: Annotated[Tenant, Depends(NeedsTenant(Role.ADMIN))],
    services: ServicesDep,
    query: Annotated[AuditQuery, Query()],
) -> EventPage:
    """Keys made and revoked, and what was deleted, restored or changed by an admin."""
    events, token = await services.audit.of_tenant(
        tenant, query.wanted(), limit=query.limit, page_token=query.page_token
    )
    return _page(events, token)


@router.get("/admin/audit", summary="The audit log of all tenants", responses=answers())
async def list_audit_of_all(
    operator: Operator, services: ServicesDep, query: Annotated[AuditOfAllQuery, Query()]
) -> EventPage:
    """Also of tenants that were deleted."""
    events, token = await services.audit.of_all(
        query.wanted(query.tenant), limit=query.limit, page_token=query.page_token
    )
    return _page(events, token)


def _page(events: Sequence[log_reader.Event], token: str | None) -> EventPage:
    return EventPage(events=[_shown(event) for event in events], next_page_token=token)


def _shown(event: log_reader.Event) -> Event:
    return Event(
        id=event.event_id.hex,
        time=shown_time(event.created_time),
        tenant=event.tenant,
        actor=event.actor,
        action=event.action,
        target=event.target,
        request_id=event.request_id,
        details=event.details,
    )
