"""`tracking tenant …`: lists and creates tenants, and sets their quotas, as the schema's owner."""

from typing import Annotated

import typer

from app.commands.console import say
from app.commands.tenant_services import TenantServices, run
from app.kernel.errors import InvalidValueError
from app.tenants import admin

cli = typer.Typer(help="List and create tenants, and set their quotas.", no_args_is_help=True)

Quota = Annotated[str | None, typer.Option(metavar="N|none")]


@cli.command("list")
def list_tenants() -> None:
    """Print every tenant: its id, its slug, and when it was created."""
    for tenant in run(lambda services: admin.list_tenants(services.database)):
        assert tenant.created_at is not None
        created = tenant.created_at.isoformat(timespec="seconds")
        typer.echo(f"{tenant.id}\t{tenant.slug}\t{created}")


@cli.command("create")
def create_tenant(slug: str) -> None:
    """Create a tenant, and the experiment 0 that every tenant has."""
    tenant = run(lambda services: admin.create_tenant(services.database, slug))
    say(f"created tenant {slug} (id {tenant.id})")


@cli.command("limit")
def limit_tenant(
    slug: str,
    requests_per_second: Quota = None,
    points_per_day: Quota = None,
    runs: Quota = None,
    artifact_bytes: Quota = None,
) -> None:
    """Set the given quotas; `none` removes one."""
    given = {
        "requests_per_second": requests_per_second,
        "points_per_day": points_per_day,
        "runs": runs,
        "artifact_bytes": artifact_bytes,
    }
    changes = {name: _number(name, value) for name, value in given.items() if value is not None}
    if changes.get("requests_per_second") == 0:
        raise InvalidValueError("requests_per_second must be at least 1", field="slug")

    async def limit(services: TenantServices) -> None:
        await services.quotas.set_limits(await services.tenants.require(slug), changes)

    run(limit)
    say(f"set the quotas of {slug}")


@cli.command("usage")
def show_usage(slug: str) -> None:
    """Print what a tenant uses, and its quotas."""

    async def usage(services: TenantServices) -> list[tuple[str, int | None, int | None]]:
        used = await services.quotas.usage(await services.tenants.require(slug))
        limits = used.limits
        return [
            ("requests_per_second", None, limits.requests_per_second),
            ("points_per_day", used.points_today, limits.points_per_day),
            ("runs", used.runs, limits.runs),
            ("artifact_bytes", used.artifact_bytes, limits.artifact_bytes),
        ]

    for name, used, quota in run(usage):
        shown = "none" if quota is None else quota
        typer.echo(f"{name}\t{'-' if used is None else used}\t{shown}")


def _number(name: str, given: str) -> int | None:
    if given == "none":
        return None
    if not given.isascii() or not given.isdigit() or len(given) > 18:
        raise InvalidValueError(f"{name} must be a whole number, or none", field=name)
    return int(given)
