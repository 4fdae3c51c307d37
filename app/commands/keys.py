"""`tracking key …`: manages the API keys of tenants, as the schema's owner."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from app.auth.api_keys import ApiKey
from app.auth.credentials import ApiKeyText, public_part
from app.commands.console import say
from app.commands.tenant_services import TenantServices, run
from app.kernel.clock import now_ms

cli = typer.Typer(help="Create, list, rotate and revoke API keys.", no_args_is_help=True)

_DAY_MS = 24 * 3600 * 1000

KeyId = Annotated[
    str, typer.Argument(metavar="KEY", help="The key's id, or the key without its secret.")
]


@cli.command("create")
def create_key(
    tenant: str,
    role: Annotated[str, typer.Option(help="read, write or admin.")] = "write",
    name: Annotated[str, typer.Option(help="Who or what the key is for.")] = "",
    days: Annotated[
        int | None,
        typer.Option(min=1, max=36500, help="Days until the key expires. [default: never]"),
    ] = None,
) -> None:
    """Create a key and print it on stdout. It cannot be shown again."""

    async def create(services: TenantServices) -> tuple[ApiKey, str]:
        expiry = None if days is None else now_ms() + days * _DAY_MS
        owner = await services.tenants.require(tenant)
        return await services.keys.create(owner, role, name=name, expiry_time=expiry)

    _show_new(tenant, *run(create))


@cli.command("list")
def list_keys(tenant: str) -> None:
    """Print a tenant's keys: id, role, status, times of creation, expiry and last use, name."""

    async def keys(services: TenantServices) -> list[ApiKey]:
        return list((await services.keys.list(await services.tenants.require(tenant)))[0])

    for key in run(keys):
        times = (key.creation_time, key.expiry_time, key.last_used_time)
        columns = (key.key_id, key.role, key.status, *map(_time, times), key.name)
        typer.echo("\t".join(columns))


@cli.command("rotate")
def rotate_key(
    tenant: str,
    key: KeyId,
    overlap: Annotated[int, typer.Option(help="Seconds that the old key stays valid.")] = 0,
) -> None:
    """Replace a key by a new one, and print that."""

    async def rotate(services: TenantServices) -> tuple[ApiKey, str]:
        owner = await services.tenants.require(tenant)
        return await services.keys.rotate(owner, _id(key), overlap_seconds=overlap)

    _show_new(tenant, *run(rotate))


@cli.command("revoke")
def revoke_key(tenant: str, key: KeyId) -> None:
    """Revoke a key; it is refused within seconds."""

    async def revoke(services: TenantServices) -> ApiKey:
        return await services.keys.revoke(await services.tenants.require(tenant), _id(key))

    say(f"revoked {public_part(tenant, run(revoke).key_id)}")


def _show_new(tenant: str, key: ApiKey, text: str) -> None:
    typer.echo(text)
    say(f"created {public_part(tenant, key.key_id)}, a key to {key.role}; it is not shown again")


def _id(key: str) -> str:
    whole = ApiKeyText.parse(key)
    return whole.key_id if whole else key.rpartition("_")[2]


def _time(epoch_ms: int | None) -> str:
    if epoch_ms is None:
        return "-"
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="seconds")
