"""What routes declare: the role and the tenant that they need, and the parameters they share."""

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
    """`{name:rest}`: the rest of a URL's path, whatever it contains.

    Starlette's `{name:path}` drops a line break at the end, so that two paths would name one file.
    """

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("rest", RestOfPath())


def services_of(request: Request) -> Services:
    """The services of the application."""
    services: Services = request.app.state.services
    return services


class RequireRole:
    """Dependency: declares the role that a route's callers must have, and provides the caller.

    `needs_tenant` is false for routes that concern no tenant's data. `AuthorizedRoute` enforces
    both before it reads the body.
    """

    def __init__(self, role: Role, *, needs_tenant: bool = True) -> None:
        self.role = role
        self.needs_tenant = needs_tenant

    async def __call__(self, request: Request) -> Principal:
        caller: Principal = request.scope["caller"]
        return caller


class RequireTenant(RequireRole):
    """Provides the caller's tenant, for routes about its data.

    The tenant may be unknown yet: it has id 0 then, and the service that is the first to write to
    it creates it.
    """

    async def __call__(self, request: Request) -> Tenant:  # type: ignore[override]
        return (await super().__call__(request)).tenant


class RequireManagedTenant(RequireRole):
    """Provides the tenant in the path, for routes by which operators and its own admins manage it.

    Raises PermissionDeniedError for the admin of another tenant, NotFoundError.
    """

    def __init__(self, role: Role) -> None:
        super().__init__(role, needs_tenant=False)

    async def __call__(  # type: ignore[override]
        self, request: Request, tenant: TenantSlug
    ) -> Tenant:
        caller = await super().__call__(request)
        denied = PermissionDeniedError(f"The key is not one of the tenant '{tenant}'")
        if caller.role < Role.OPERATOR and caller.tenant.slug != tenant:
            raise denied
        managed = await services_of(request).tenant_lookup.require(tenant)
        # The slug may have been another tenant's when the key was verified.
        if caller.role < Role.OPERATOR and caller.tenant.id != managed.id:
            raise denied
        request.scope["caller"] = replace(caller, tenant=managed)
        return managed


class AuthorizedRoute(APIRoute):
    """A route that authorizes its caller before it reads the body.

    FastAPI reads the body before it runs a route's dependencies, so that callers without a key
    could send megabytes. A route whose handler declares no role raises ValueError when it is added.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        declared = {"security": SECURITY, "x-required-role": self._requirement.role.word}
        self.openapi_extra = (self.openapi_extra or {}) | declared

    @property
    def _requirement(self) -> RequireRole:
        (requirement,) = (
            dependency.call
            for dependency in self.dependant.dependencies
            if isinstance(dependency.call, RequireRole)
        )
        return requirement

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        requirement = self._requirement

        async def authorize_and_handle(request: Request) -> Response:
            services = services_of(request)
            caller = await services.authenticator.authorize(
                request.scope, requirement.role, needs_tenant=requirement.needs_tenant
            )
            response = await handle(await self.read_request(request))
            await services.memory.hold_response(caller.tenant, len(_body_in_memory(response)))
            return response

        return authorize_and_handle

    async def read_request(self, request: Request) -> Request:
        """The request as FastAPI gets it. Subclasses read and check the body here."""
        return request


def _body_in_memory(response: Response) -> bytes | memoryview:
    """The body, or nothing for one that is made while it is sent."""
    return getattr(response, "body", b"")


async def _services(request: Request) -> Services:
    return services_of(request)


async def document_tenant_header(
    x_tenant_id: Annotated[
        str | None,
        Header(
            alias="X-Tenant-ID",
            description="The tenant's slug, unless a key or the path (`/t/{tenant}`) names the"
            " tenant. 400 if header and path name different tenants, 403 if the key is another"
            " tenant's.",
            examples=["acme-corp"],
        ),
    ] = None,
) -> None:
    """Dependency: puts the header into the OpenAPI document. The authenticator reads it."""


ServicesDep = Annotated[Services, Depends(_services)]
ReadTenant = Annotated[Tenant, Depends(RequireTenant(Role.READ))]
WriteTenant = Annotated[Tenant, Depends(RequireTenant(Role.WRITE))]
AdminTenant = Annotated[Tenant, Depends(RequireTenant(Role.ADMIN))]
ManagedTenant = Annotated[Tenant, Depends(RequireManagedTenant(Role.ADMIN))]
OperatedTenant = Annotated[Tenant, Depends(RequireManagedTenant(Role.OPERATOR))]
Operator = Annotated[Principal, Depends(RequireRole(Role.OPERATOR, needs_tenant=False))]

RUN_EXAMPLE = "018f3f7e5a6c7b2d9e4f1a2b3c4d5e6f"
EXPERIMENT_EXAMPLE = "187261934512046080"

RunId = Annotated[
    str, Path(description="The run's id: 32 hexadecimal digits.", examples=[RUN_EXAMPLE])
]
ExperimentId = Annotated[
    str,
    Path(
        description="The experiment's id: a decimal number, as a string.",
        examples=[EXPERIMENT_EXAMPLE],
    ),
]
