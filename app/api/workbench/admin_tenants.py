"""Routes by which operators create, describe, limit and delete tenants."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from app.api.workbench.dependencies import (
    ManagedTenant,
    OperatedTenant,
    Operator,
    ServicesDep,
)
from app.api.workbench.fields import Limit, Offset, RequestBody, ResponseBody, Time, iso_time
from app.api.workbench.json_body import JsonRoute
from app.api.workbench.openapi import answers
from app.api.workbench.schemas import example
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


class Quotas(RequestBody):
    """The quotas of a tenant. Null removes a quota; one that is left out stays."""

    model_config = ConfigDict(json_schema_extra=example(_QUOTAS))

    requests_per_second: int | None = Field(
        default=None, strict=True, ge=1, le=_INT32_MAX, description="429 above it."
    )
    points_per_day: int | None = Field(
        default=None, strict=True, ge=0, le=_INT64_MAX, description="Per UTC day; 429 above it."
    )
    runs: int | None = Field(
        default=None,
        strict=True,
        ge=0,
        le=_INT64_MAX,
        description="Deleted runs included; 403 above it.",
    )
    artifact_bytes: int | None = Field(
        default=None, strict=True, ge=0, le=_INT64_MAX, description="403 above it."
    )


class CreateTenant(RequestBody):
    """A new tenant."""

    model_config = ConfigDict(
        json_schema_extra=example({"slug": "acme-corp", "description": "Acme's data science"})
    )

    slug: str = Field(
        pattern=f"^{SLUG.pattern}$",
        description="1 to 48 lower-case letters, digits and hyphens. Cannot be changed later.",
    )
    description: Description | None = None
    quotas: Quotas = Quotas()


class UpdateTenant(RequestBody):
    """The fields to change; others keep their values."""

    model_config = ConfigDict(
        json_schema_extra=example({"quotas": {"requests_per_second": 200, "runs": None}})
    )

    description: Description | None = None
    quotas: Quotas = Quotas()


class Tenant(ResponseBody):
    """A tenant and its quotas."""

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
            created_at=iso_time(int(created.timestamp() * 1000)) if created else None,
            quotas=_quotas(entry.limits),
        )


class TenantPage(ResponseBody):
    """A page of tenants, by slug."""

    model_config = ConfigDict(
        json_schema_extra=example({"tenants": [_TENANT], "total": 1, "limit": 100, "offset": 0})
    )

    tenants: list[Tenant]
    total: int
    limit: int
    offset: int


class Usage(ResponseBody):
    """What a tenant uses, and its quotas."""

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
        description="Points of this UTC day, if there is a quota of points. Each worker counts up"
        " to a few thousand, or a hundredth of the quota, before they are logged."
    )
    runs: int = Field(description="Deleted runs included.")
    artifact_bytes: int
    quotas: Quotas


def _quotas(limits: Limits) -> Quotas:
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
    """Pages of all tenants, by slug."""
    found, total = await services.tenants.page(limit=limit, offset=offset)
    return TenantPage(
        tenants=[Tenant.of(tenant) for tenant in found], total=total, limit=limit, offset=offset
    )


@router.post("", status_code=201, summary="Create a tenant", responses=answers(409, 413, 415))
async def create_tenant(body: CreateTenant, operator: Operator, services: ServicesDep) -> Tenant:
    """The tenant has the experiment `Default`, and no key yet. 409 if the slug is taken."""
    await services.tenants.create(body.slug, body.description)
    await _set_quotas(services, await services.tenant_lookup.require(body.slug), body.quotas)
    return Tenant.of(await services.tenants.get(body.slug))


@router.get("/{tenant}", summary="Get a tenant", responses=answers(404))
async def get_tenant(tenant: ManagedTenant, services: ServicesDep) -> Tenant:
    """For operators and admins of the tenant."""
    return Tenant.of(await services.tenants.get(tenant.slug, of=tenant))


@router.patch(
    "/{tenant}", summary="Change a tenant's description or quotas", responses=answers(404, 413, 415)
)
async def update_tenant(
    body: UpdateTenant, tenant: OperatedTenant, services: ServicesDep
) -> Tenant:
    """Changes the given fields. New quotas take effect within seconds."""
    if body.description is not None:
        await services.tenants.describe(tenant.slug, body.description)
    await _set_quotas(services, tenant, body.quotas)
    return Tenant.of(await services.tenants.get(tenant.slug))


@router.delete("/{tenant}", status_code=204, summary="Delete a tenant", responses=answers(404, 409))
async def delete_tenant(
    tenant: OperatedTenant,
    services: ServicesDep,
    cascade: Annotated[
        bool,
        Query(
            description="Whether to delete the tenant's data too. If not, 409 unless it is empty."
        ),
    ] = False,
) -> None:
    """Deletes the tenant with its keys, which stop working within seconds."""
    await services.tenants.delete(tenant.slug, "CASCADE" if cascade else "RESTRICT")


@router.get("/{tenant}/usage", summary="Get a tenant's usage", responses=answers(404))
async def get_usage(tenant: ManagedTenant, services: ServicesDep) -> Usage:
    """For operators and admins of the tenant."""
    used = await services.quotas.usage(tenant)
    return Usage(
        tenant=tenant.slug,
        points_today=used.points_today,
        runs=used.runs,
        artifact_bytes=used.artifact_bytes,
        quotas=_quotas(used.limits),
    )


async def _set_quotas(services: Services, tenant: tenancy.Tenant, quotas: Quotas) -> None:
    if given := quotas.model_dump(exclude_unset=True):
        await services.quotas.set_limits(tenant, given)
