"""Routes of a tenant's API keys, for operators and for the tenant's admins."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import ConfigDict, Field

from app.api.workbench.dependencies import ManagedTenant, ServicesDep
from app.api.workbench.fields import (
    EpochMs,
    Limit,
    Offset,
    RequestBody,
    ResponseBody,
    Time,
    iso_time,
)
from app.api.workbench.json_body import JsonRoute
from app.api.workbench.openapi import answers
from app.api.workbench.schemas import example
from app.auth import api_keys
from app.kernel.tenant import Tenant

router = APIRouter(prefix="/admin/tenants/{tenant}/keys", tags=["admin"], route_class=JsonRoute)

_ID = "1f0c63a9be52"
_KEY = {
    "id": _ID,
    "prefix": f"trk_acme-corp_{_ID}",
    "name": "training cluster",
    "role": "write",
    "status": "active",
    "created_at": "2025-11-23T09:42:00.000Z",
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": "2025-11-24T17:03:00.000Z",
}
_NEW_KEY = _KEY | {"last_used_at": None, "key": f"trk_acme-corp_{_ID}_{'x' * 43}"}

KeyId = Annotated[str, Path(description="The key's id: 12 hexadecimal digits.", examples=[_ID])]


class CreateKey(RequestBody):
    """A new key."""

    model_config = ConfigDict(
        json_schema_extra=example({"name": "training cluster", "role": "write"})
    )

    role: Literal["read", "write", "admin"]
    name: str = Field(
        default="", max_length=api_keys.MAX_NAME_LENGTH, description="What the key is for."
    )
    expires_at: EpochMs | None = Field(
        default=None, description="Epoch milliseconds. By default, the key does not expire."
    )


class RotateKey(RequestBody):
    """The time to change over to the new key."""

    model_config = ConfigDict(json_schema_extra=example({"overlap_seconds": 3600}))

    overlap_seconds: int = Field(
        default=0,
        strict=True,
        ge=0,
        le=api_keys.MAX_OVERLAP_SECONDS,
        description="How long the old key stays valid.",
    )


class Key(ResponseBody):
    """A key, without its secret."""

    model_config = ConfigDict(json_schema_extra=example(_KEY))

    id: str
    prefix: str = Field(description="The beginning of the key, which is not secret.")
    name: str
    role: Literal["read", "write", "admin"]
    status: Literal["active", "expired", "revoked"]
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None
    last_used_at: Time | None = Field(description="Recorded at most once a minute.")


class NewKey(Key):
    """A new key with its secret, which is in no other answer."""

    model_config = ConfigDict(json_schema_extra=example(_NEW_KEY))

    key: str = Field(
        description="The whole key, which clients send. The server stores only a hash of it."
    )


class KeyPage(ResponseBody):
    """A page of keys, the newest first."""

    model_config = ConfigDict(
        json_schema_extra=example({"keys": [_KEY], "total": 1, "limit": 100, "offset": 0})
    )

    keys: list[Key]
    total: int
    limit: int
    offset: int


@router.get("", summary="List a tenant's keys", responses=answers(404))
async def list_keys(
    tenant: ManagedTenant,
    services: ServicesDep,
    limit: Annotated[Limit, Query()] = 100,
    offset: Annotated[Offset, Query()] = 0,
) -> KeyPage:
    """Includes keys that are revoked or expired."""
    found, total = await services.keys.list(tenant, limit=limit, offset=offset)
    return KeyPage(
        keys=[_key(tenant, key) for key in found], total=total, limit=limit, offset=offset
    )


@router.post("", status_code=201, summary="Create a key", responses=answers(404, 413, 415))
async def create_key(
    body: CreateKey, tenant: ManagedTenant, services: ServicesDep, response: Response
) -> NewKey:
    """The answer is the only one that contains the whole key."""
    created, text = await services.keys.create(
        tenant, body.role, name=body.name, expiry_time=body.expires_at
    )
    return _new_key(tenant, created, text, response)


@router.get("/{key_id}", summary="Get a key", responses=answers(404))
async def get_key(tenant: ManagedTenant, key_id: KeyId, services: ServicesDep) -> Key:
    """Returns the key without its secret."""
    return _key(tenant, await services.keys.get(tenant, key_id))


@router.post(
    "/{key_id}/rotate",
    status_code=201,
    summary="Replace a key by a new one",
    responses=answers(404, 409, 413, 415),
)
async def rotate_key(
    tenant: ManagedTenant,
    key_id: KeyId,
    services: ServicesDep,
    response: Response,
    body: RotateKey | None = None,
) -> NewKey:
    """The new key has the same name, role and lifetime. 409 if the key is revoked."""
    overlap = (body or RotateKey()).overlap_seconds
    created, text = await services.keys.rotate(tenant, key_id, overlap_seconds=overlap)
    return _new_key(tenant, created, text, response)


@router.delete("/{key_id}", summary="Revoke a key", responses=answers(404))
async def revoke_key(tenant: ManagedTenant, key_id: KeyId, services: ServicesDep) -> Key:
    """The key stops working within seconds, and stays in the list. Revoking it again changes
    nothing."""
    return _key(tenant, await services.keys.revoke(tenant, key_id))


def _key(tenant: Tenant, key: api_keys.ApiKey) -> Key:
    return Key.model_validate(_fields(tenant, key))


def _new_key(tenant: Tenant, key: api_keys.ApiKey, text: str, response: Response) -> NewKey:
    response.headers["Cache-Control"] = "no-store"
    return NewKey.model_validate(_fields(tenant, key) | {"key": text})


def _fields(tenant: Tenant, key: api_keys.ApiKey) -> dict[str, object]:
    return {
        "id": key.key_id,
        "prefix": api_keys.shown_prefix(tenant, key),
        "name": key.name,
        "role": key.role,
        "status": key.status,
        "created_at": iso_time(key.creation_time),
        "expires_at": _time(key.expiry_time),
        "revoked_at": _time(key.revoked_time),
        "last_used_at": _time(key.last_used_time),
    }


def _time(epoch_ms: int | None) -> str | None:
    return None if epoch_ms is None else iso_time(epoch_ms)
