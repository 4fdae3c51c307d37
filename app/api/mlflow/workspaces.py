"""MLflow's workspaces, which are this server's tenants."""

from typing import get_args

import msgspec

from app.api.mlflow.router import Call, Empty, Routes
from app.kernel.errors import InvalidValueError, PermissionDeniedError
from app.kernel.principal import Role
from app.kernel.tenant import Tenant
from app.tenants.entities import TenantDetails
from app.tenants.service import DeletionMode

routes = Routes()


class Workspace(msgspec.Struct, omit_defaults=True):
    name: str
    description: str | None = None


class WorkspaceAnswer(msgspec.Struct):
    workspace: Workspace


class WorkspacesAnswer(msgspec.Struct, omit_defaults=True):
    workspaces: list[Workspace] = []


class CreateWorkspace(msgspec.Struct):
    name: str
    description: str | None = None
    default_artifact_root: str | None = None


class WorkspaceName(msgspec.Struct):
    workspace_name: str


class UpdateWorkspace(WorkspaceName):
    description: str | None = None
    default_artifact_root: str | None = None


class DeleteWorkspace(WorkspaceName):
    mode: str = "RESTRICT"


@routes.add("GET", "workspaces", Empty, Role.READ, needs_tenant=False)
async def list_workspaces(call: Call, message: Empty) -> WorkspacesAnswer:
    tenants, caller = call.services.tenants, call.caller
    if caller.role < Role.OPERATOR:
        return WorkspacesAnswer([_message(await tenants.get(caller.tenant.slug, of=caller.tenant))])
    return WorkspacesAnswer([_message(entry) for entry in await tenants.list()])


@routes.add("POST", "workspaces", CreateWorkspace, Role.OPERATOR, needs_tenant=False, status=201)
async def create(call: Call, message: CreateWorkspace) -> WorkspaceAnswer:
    _refuse_artifact_root(message.default_artifact_root)
    entry = await call.services.tenants.create(message.name, message.description)
    return WorkspaceAnswer(_message(entry))


@routes.add("GET", "workspaces/{workspace_name}", WorkspaceName, Role.READ, needs_tenant=False)
async def get(call: Call, message: WorkspaceName) -> WorkspaceAnswer:
    own = _checked_tenant(call, message.workspace_name)
    return WorkspaceAnswer(
        _message(await call.services.tenants.get(message.workspace_name, of=own))
    )


@routes.add("PATCH", "workspaces/{workspace_name}", UpdateWorkspace, Role.ADMIN, needs_tenant=False)
async def update(call: Call, message: UpdateWorkspace) -> WorkspaceAnswer:
    own = _checked_tenant(call, message.workspace_name)
    _refuse_artifact_root(message.default_artifact_root)
    if message.description is None:
        if message.default_artifact_root is None:
            raise InvalidValueError(
                "Workspace update must have at least one key", field="description"
            )
        # An empty root removes the workspace's own, and no workspace has one.
        return WorkspaceAnswer(
            _message(await call.services.tenants.get(message.workspace_name, of=own))
        )
    entry = await call.services.tenants.describe(
        message.workspace_name, message.description, of=own
    )
    return WorkspaceAnswer(_message(entry))


@routes.add(
    "DELETE",
    "workspaces/{workspace_name}",
    DeleteWorkspace,
    Role.OPERATOR,
    needs_tenant=False,
    status=204,
)
async def delete(call: Call, message: DeleteWorkspace) -> None:
    modes: tuple[DeletionMode, ...] = get_args(DeletionMode)
    chosen = [mode for mode in modes if mode == message.mode]
    if not chosen:
        raise InvalidValueError(
            f"Invalid deletion mode '{message.mode}'. Must be one of: {', '.join(modes)}",
            field="mode",
        )
    await call.services.tenants.delete(message.workspace_name, chosen[0])


def _checked_tenant(call: Call, name: str) -> Tenant | None:
    """The caller's tenant, which must be the one that is named; None for an operator.

    Raises PermissionDeniedError for another name, whether or not it is a tenant's.
    """
    if call.caller.role >= Role.OPERATOR:
        return None
    if name != call.tenant.slug:
        raise PermissionDeniedError(f"The key is not one of the tenant '{name}'")
    return call.tenant


def _refuse_artifact_root(root: str | None) -> None:
    if root:
        raise InvalidValueError(
            "A workspace's artifacts lie in its own bucket or folder on this server;"
            " 'default_artifact_root' cannot be set",
            field="default_artifact_root",
        )


def _message(entry: TenantDetails) -> Workspace:
    return Workspace(entry.slug, entry.description)
