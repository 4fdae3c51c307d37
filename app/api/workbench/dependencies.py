"""What handlers take from a request besides its body and query."""

from typing import Annotated

from fastapi import Depends, Header, Path, Request

from app.services import Services
from app.tenancy.tenant import Tenant


def services_of(request: Request) -> Services:
    """The services that the application was started with."""
    services: Services = request.app.state.services
    return services


async def tenant_of(request: Request, *, write: bool = False) -> Tenant:
    """The tenant that the request names; `write` lets an unknown one spring into being.

    Only calls that can succeed in an empty tenant write in this sense: whatever names a run or an
    experiment by its id cannot find it in a tenant that does not exist.
    """
    return await services_of(request).tenants.resolve(
        request.scope.get("tenant_in_path"), request.headers, write=write
    )


async def _services(request: Request) -> Services:
    return services_of(request)


async def _tenant(request: Request) -> Tenant:
    return await tenant_of(request)


async def document_tenant_header(
    x_tenant_id: Annotated[
        str | None,
        Header(
            alias="X-Tenant-ID",
            description="The tenant, unless the path starts with `/t/{tenant}`: a slug of"
            " lower-case letters, digits and hyphens. Where the two name different tenants: 400.",
            examples=["acme-corp"],
        ),
    ] = None,
) -> None:
    """Puts the header into the OpenAPI page; `tenant_of` reads it, with the others there are."""


ServicesDep = Annotated[Services, Depends(_services)]
TenantDep = Annotated[Tenant, Depends(_tenant)]

RUN_EXAMPLE = "018f3f7e5a6c7b2d9e4f1a2b3c4d5e6f"
EXPERIMENT_EXAMPLE = "187261934512046080"

RunId = Annotated[str, Path(description="32 hexadecimal digits.", examples=[RUN_EXAMPLE])]
ExperimentId = Annotated[
    str, Path(description="A decimal number, as a string.", examples=[EXPERIMENT_EXAMPLE])
]
