"""Tenants as an operator manages them: made, described, given quotas, deleted."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from app.api.workbench.dependencies import (
    ManagedTenant,
    OperatedTenant,
    Operator,
    ServicesDep,
)
from app.api.workbench.json_body import JsonRoute
from app.api.workbench.openapi import answers
from app.api.workbench.schemas import example
from app.api.workbench.types import Body, Limit, Offset, Shown, Time, shown_time
from app.kernel import tenant as tenancy
from app.kernel.tenant import SLUG
from app.services import Services
from app.tenants.entities import Limits, TenantDetails
from app.tenants.service import MAX_DESCRIPTION_LENGTH

router = APIRouter(prefix="/admin/tenants", tags=["admin"], route_class=JsonRoute)

_INT32_MAX = 2**31 - 1
_INT64_MAX = 2**63 - 1
_QUOTAS = {
    "requests_per_second": 200,
    "points_per_day": 50_000_000,
    "runs": None,
    "artifact_bytes": 1_099_511_627_776,
}
_TENANT = {
    "slug": "acme-corp",
    "description": "Acme's data science",
    "created_at": "2025-11-23T09:42:00.000Z",
    "quotas": _QUOTAS,
}

Description = Annotated[str, Field(max_length=MAX_DESCRIPTION_LENGTH)]


class Quotas(Body):
    """What a tenant may do and keep. A quota that is null is lifted; one left out stays."""

    model_config = ConfigDict(json_schema_extra=example(_QUOTAS))

    requests_per_second: int | None = Field(
        default=None, strict=True, ge=1, le=_INT32_MAX, description="Beyond it: 429."
    )
    points_per_day: int | None = Field(
        default=None, strict=True, ge=0, le=_INT64_MAX, description="By UTC day. Beyond it: 429."
    )
    runs: int | None = Field(
        default=None,
        strict=True,
        ge=0,
        le=_INT64_MAX,
        description="Deleted ones included. Beyond it: 403.",
    )
    artifact_bytes: int | None = Field(
        default=None, strict=True, ge=0, le=_INT64_MAX, description="Beyond it: 403."
    )


class CreateTenant(Body):
    """A tenant to be."""

    model_config = ConfigDict(
        json_schema_extra=example({"slug": "acme-corp", "description": "Acme's data science"})
    )

    slug: str = Field(
        pattern=f"^{SLUG.pattern}$",
        description="1 to 48 lower-case letters, digits and hyphens. It cannot be changed.",
    )
    description: Description | None = None
    quotas: Quotas = Quotas()


class UpdateTenant(Body):
    """What to change of a tenant."""

    model_config = ConfigDict(
        json_schema_extra=example({"quotas": {"requests_per_second": 200, "runs": None}})
    )

    description: Description | None = None
    quotas: Quotas = Quotas()


class Tenant(Shown):
    """A tenant."""

    model_config = ConfigDict(json_schema_extra=example(_TENANT))

    slug: str
    description: str | None
    created_at: Time | None
    quotas: Quotas

    @classmethod
    def of(cls, entry: TenantDetails) -> "Tenant":
        created = entry.created_at
        return cls(
            slug=entry.slug,
            description=entry.description,
            created_at=shown_time(int(created.timestamp() * 1000)) if created else None,
            quotas=shown_quotas(entry.limits),
        )


class TenantPage(Shown):
    """Tenants by slug."""

    model_config = ConfigDict(
        json_schema_extra=example({"tenants": [_TENANT], "total": 1, "limit": 100, "offset": 0})
    )

    tenants: list[Tenant]
    total: int
    limit: int
    offset: int


class Usage(Shown):
    """What a tenant uses, beside its quotas."""

    model_config = ConfigDict(
        json_schema_extra=example(
            {
                "tenant": "acme-corp",
                "points_today": 1_250_000,
                "runs": 4182,
                "artifact_bytes": 7_516_192_768,
                "quotas": _QUOTAS,
            }
        )
    )

    tenant: str
    points_today: int | None = Field(
        description="In this UTC day, counted where there is a quota of them; each worker counts a"
        " few thousand at most, or a hundredth of the quota, before it uses them."
    )
    runs: int = Field(description="Deleted ones included.")
    artifact_bytes: int
    quotas: Quotas


def shown_quotas(limits: Limits) -> Quotas:
    return Quotas(
        requests_per_second=limits.requests_per_second,
        points_per_day=limits.points_per_day,
        runs=limits.runs,
        artifact_bytes=limits.artifact_bytes,
    )


@router.get("", summary="List tenants", responses=answers())
async def list_tenants(
    operator: Operator,
    services: ServicesDep,
    limit: Annotated[Limit, Query()] = 100,
    offset: Annotated[Offset, Query()] = 0,
) -> TenantPage:
    """Every tenant that exists, by slug."""
    found, total = await services.tenants.page(limit=limit, offset=offset)
    return TenantPage(
        tenants=[Tenant.of(one) for one in found], total=total, limit=limit, offset=offset
    )


@router.post("", status_code=201, summary="Create a tenant", responses=answers(409, 413, 415))
async def create_tenant(body: CreateTenant, operator: Operator, services: ServicesDep) -> Tenant:
    """It comes with the experiment `Default`, and without a key. 409 where the slug is taken."""
    await services.tenants.create(body.slug, body.description)
    await _limit(services, await services.tenant_lookup.require(body.slug), body.quotas)
    return Tenant.of(await services.tenants.get(body.slug))


@router.get("/{tenant}", summary="Get a tenant", responses=answers(404))
async def get_tenant(tenant: ManagedTenant, services: ServicesDep) -> Tenant:
    """For operators, and for admins of the tenant."""
    return Tenant.of(await services.tenants.get(tenant.slug, of=tenant))


@router.patch(
    "/{tenant}", summary="Describe a tenant, or set its quotas", responses=answers(404, 413, 415)
)
async def update_tenant(
    body: UpdateTenant, tenant: OperatedTenant, services: ServicesDep
) -> Tenant:
    """Changes what is given. Every worker goes by new quotas within seconds."""
    if body.description is not None:
        await services.tenants.describe(tenant.slug, body.description)
    await _limit(services, tenant, body.quotas)
    return Tenant.of(await services.tenants.get(tenant.slug))


@router.delete("/{tenant}", status_code=204, summary="Delete a tenant", responses=answers(404, 409))
async def delete_tenant(
    tenant: OperatedTenant,
    services: ServicesDep,
    cascade: Annotated[
        bool, Query(description="Delete all that it holds with it; else 409 where it is not empty.")
    ] = False,
) -> None:
    """Its keys go with it, and stop working within seconds."""
    await services.tenants.delete(tenant.slug, "CASCADE" if cascade else "RESTRICT")


@router.get("/{tenant}/usage", summary="What a tenant uses", responses=answers(404))
async def get_usage(tenant: ManagedTenant, services: ServicesDep) -> Usage:
    """For operators, and for admins of the tenant."""
    used = await services.quotas.usage(tenant)
    return Usage(
        tenant=tenant.slug,
        points_today=used.points_today,
        runs=used.runs,
        artifact_bytes=used.artifact_bytes,
        quotas=shown_quotas(used.limits),
    )


async def _limit(services: Services, tenant: tenancy.Tenant, quotas: Quotas) -> None:
    if given := quotas.model_dump(exclude_unset=True):
        await services.quotas.set_limits(tenant, given)
