"""Routes of the audit log: a tenant's, for its admins, and that of all tenants, for operators."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from app.api.workbench.dependencies import AdminTenant, Operator, ServicesDep
from app.api.workbench.fields import MAX_TIME, Limit, RequestBody, ResponseBody, Time, iso_time
from app.api.workbench.json_body import JsonRoute
from app.api.workbench.openapi import answers
from app.api.workbench.schemas import example
from app.audit import log_reader

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


class AuditQuery(RequestBody):
    """The query of a tenant's audit log."""

    actor: str | None = Field(
        default=None, description="The prefix of a key, `jwt:` with a subject, or `command-line`."
    )
    action: str | None = Field(
        default=None, description="Such as `run.delete`.", examples=["key.create"]
    )
    target: str | None = Field(default=None, description="The id or the name of what was changed.")
    since: int | None = Field(
        default=None, ge=0, le=MAX_TIME, description="Epoch milliseconds, inclusive."
    )
    until: int | None = Field(
        default=None, ge=0, le=MAX_TIME, description="Epoch milliseconds, exclusive."
    )
    limit: Limit = 100
    page_token: str | None = Field(
        default=None, description="The `next_page_token` of the previous page."
    )

    def wanted(self, tenant: str | None = None) -> log_reader.Filter:
        return log_reader.Filter(
            tenant, self.actor, self.action, self.target, self.since, self.until
        )


class AuditOfAllQuery(AuditQuery):
    """The query of the audit log of all tenants."""

    tenant: str | None = Field(
        default=None, description="A tenant's slug, also that of a deleted tenant."
    )


class Event(ResponseBody):
    """An audited action, and its actor."""

    model_config = ConfigDict(json_schema_extra=example(_EVENT))

    id: str
    time: Time
    tenant: str
    actor: str
    action: str
    target: str
    request_id: str | None = Field(description="Null for an action of the command line.")
    details: dict[str, Any]


class EventPage(ResponseBody):
    """A page of events, the newest first."""

    model_config = ConfigDict(
        json_schema_extra=example({"events": [_EVENT], "next_page_token": None})
    )

    events: list[Event]
    next_page_token: str | None


@router.get("/audit", summary="List a tenant's audit log", responses=answers())
async def list_audit(
    tenant: AdminTenant,
    services: ServicesDep,
    query: Annotated[AuditQuery, Query()],
) -> EventPage:
    """Events: keys created and revoked, things deleted and restored, changes by admins."""
    events, token = await services.audit.of_tenant(
        tenant, query.wanted(), limit=query.limit, page_token=query.page_token
    )
    return _page(events, token)


@router.get("/admin/audit", summary="List the audit log of all tenants", responses=answers())
async def list_audit_of_all(
    operator: Operator, services: ServicesDep, query: Annotated[AuditOfAllQuery, Query()]
) -> EventPage:
    """Includes events of deleted tenants."""
    events, token = await services.audit.of_all(
        query.wanted(query.tenant), limit=query.limit, page_token=query.page_token
    )
    return _page(events, token)


def _page(events: Sequence[log_reader.Event], token: str | None) -> EventPage:
    return EventPage(events=[_event(event) for event in events], next_page_token=token)


def _event(event: log_reader.Event) -> Event:
    return Event(
        id=event.event_id.hex,
        time=iso_time(event.created_time),
        tenant=event.tenant,
        actor=event.actor,
        action=event.action,
        target=event.target,
        request_id=event.request_id,
        details=event.details,
    )
