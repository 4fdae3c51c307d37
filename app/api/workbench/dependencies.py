"""Who may call a route, and what handlers take from a request besides its body and query."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Depends, Header, Path, Request, Response
from fastapi.routing import APIRoute
from starlette.convertors import Convertor, register_url_convertor

from app.api.workbench.openapi import SECURITY
from app.kernel.errors import PermissionDeniedError
from app.kernel.principal import Principal, Role
from app.kernel.tenant import Tenant
from app.services import Services

TenantSlug = Annotated[
    str, Path(description="The tenant's slug.", examples=["acme-corp"], max_length=48)
]


class RestOfPath(Convertor[str]):
    """`{name:rest}`: all that is left of a URL's path. A line break at its end belongs to it, which
    Starlette's `{name:path}` drops: one could then name a file by what is not its path."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("rest", RestOfPath())


def services_of(request: Request) -> Services:
    """The services that the application was started with."""
    services: Services = request.app.state.services
    return services


class Needs:
    """Declares the role that a route's callers must have, and hands on who they are.

    `outside` is for a route that is about no tenant's data.
    """

    def __init__(self, role: Role, *, outside: bool = False) -> None:
        self.role = role
        self.outside = outside

    async def __call__(self, request: Request) -> Principal:
        caller: Principal = request.scope["caller"]
        return caller


class NeedsTenant(Needs):
    """For routes about the data of the caller's tenant, which is what they are handed.

    One that is yet unknown is created by those calls that can succeed in an empty tenant, by
    `TenantLookup.ensure_created`: whatever names a run or an experiment by its id cannot find it
    there.
    """

    async def __call__(self, request: Request) -> Tenant:  # type: ignore[override]
        return (await super().__call__(request)).tenant


class NeedsManaged(Needs):
    """For routes about the tenant in their path, which an operator manages, or its own admin."""

    def __init__(self, role: Role) -> None:
        super().__init__(role, outside=True)

    async def __call__(  # type: ignore[override]
        self, request: Request, tenant: TenantSlug
    ) -> Tenant:
        caller = await super().__call__(request)
        others = PermissionDeniedError(f"The key is not one of the tenant '{tenant}'")
        if caller.role < Role.OPERATOR and caller.tenant.slug != tenant:
            raise others
        managed = await services_of(request).tenant_lookup.require(tenant)
        # The slug may have been another tenant's when the key was recognised.
        if caller.role < Role.OPERATOR and caller.tenant.id != managed.id:
            raise others
        request.scope["caller"] = replace(caller, tenant=managed)
        return managed


class GuardedRoute(APIRoute):
    """A route that lets its callers in before it reads what they send.

    FastAPI reads the body before it runs a route's dependencies; nobody should be able to send
    megabytes here who is not let in. A route whose handler does not declare a role is an error.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        shown = {"security": SECURITY, "x-required-role": self._needs.role.word}
        self.openapi_extra = (self.openapi_extra or {}) | shown

    @property
    def _needs(self) -> Needs:
        (needs,) = (one.call for one in self.dependant.dependencies if isinstance(one.call, Needs))
        return needs

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        needs = self._needs

        async def guarded(request: Request) -> Response:
            services = services_of(request)
            caller = await services.authenticator.authorize(
                request.scope, needs.role, needs_tenant=not needs.outside
            )
            response = await handle(await self.prepared(request))
            await services.memory.hold_response(caller.tenant, len(_whole_body(response)))
            return response

        return guarded

    async def prepared(self, request: Request) -> Request:
        """The request that FastAPI is handed, for routes that read more of it first."""
        return request


def _whole_body(response: Response) -> bytes | memoryview:
    """Empty where the body is made while it is sent."""
    return getattr(response, "body", b"")


async def _services(request: Request) -> Services:
    return services_of(request)


async def document_tenant_header(
    x_tenant_id: Annotated[
        str | None,
        Header(
            alias="X-Tenant-ID",
            description="The tenant, unless a key or the path, `/t/{tenant}`, names it: a slug of"
            " lower-case letters, digits and hyphens. Where the two name different tenants: 400;"
            " another tenant than the key's: 403.",
            examples=["acme-corp"],
        ),
    ] = None,
) -> None:
    """Puts the header into the OpenAPI page; `Access` reads it, with the others there are."""


ServicesDep = Annotated[Services, Depends(_services)]
ReadTenant = Annotated[Tenant, Depends(NeedsTenant(Role.READ))]
WriteTenant = Annotated[Tenant, Depends(NeedsTenant(Role.WRITE))]
ManagedTenant = Annotated[Tenant, Depends(NeedsManaged(Role.ADMIN))]
OperatedTenant = Annotated[Tenant, Depends(NeedsManaged(Role.OPERATOR))]
Operator = Annotated[Principal, Depends(Needs(Role.OPERATOR, outside=True))]

RUN_EXAMPLE = "018f3f7e5a6c7b2d9e4f1a2b3c4d5e6f"
EXPERIMENT_EXAMPLE = "187261934512046080"

RunId = Annotated[str, Path(description="32 hexadecimal digits.", examples=[RUN_EXAMPLE])]
ExperimentId = Annotated[
    str, Path(description="A decimal number, as a string.", examples=[EXPERIMENT_EXAMPLE])
]
