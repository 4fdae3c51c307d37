"""`tracking tenant …`: tenants and their quotas, as the role that owns the schema."""

from typing import Annotated

import typer

from app.commands.console import check_schema, load_settings, owner_url, say
from app.commands.tenant_services import Tenancy, run
from app.kernel.errors import InvalidValueError
from app.tenants import admin

cli = typer.Typer(help="List and create tenants, and set their quotas.", no_args_is_help=True)

Quota = Annotated[str | None, typer.Option(metavar="N|none")]


@cli.command("list")
def list_tenants() -> None:
    """Print every tenant: its id, its slug, and when it was created."""
    with owner_url(load_settings()) as url:
        check_schema(url)
        for row in admin.list_tenants(url):
            typer.echo(f"{row.id}\t{row.slug}\t{row.created_at.isoformat(timespec='seconds')}")


@cli.command("create")
def create_tenant(slug: str) -> None:
    """Create a tenant, and the experiment 0 that every tenant has."""
    with owner_url(load_settings()) as url:
        check_schema(url)
        say(f"created tenant {slug} (id {admin.create_tenant(url, slug)})")


@cli.command("limit")
def limit_tenant(
    slug: str,
    requests_per_second: Quota = None,
    points_per_day: Quota = None,
    runs: Quota = None,
    artifact_bytes: Quota = None,
) -> None:
    """Set the quotas that are given; `none` lifts one."""
    given = {
        "requests_per_second": requests_per_second,
        "points_per_day": points_per_day,
        "runs": runs,
        "artifact_bytes": artifact_bytes,
    }
    changes = {name: _number(name, value) for name, value in given.items() if value is not None}
    if changes.get("requests_per_second") == 0:
        raise InvalidValueError("requests_per_second must be at least 1", field="slug")

    async def limit(tenancy: Tenancy) -> None:
        await tenancy.quotas.limit(await tenancy.tenants.existing(slug), changes)

    run(limit)
    say(f"set the quotas of {slug}")


@cli.command("usage")
def show_usage(slug: str) -> None:
    """Print what a tenant uses, and its quotas."""

    async def usage(tenancy: Tenancy) -> list[tuple[str, int | None, int | None]]:
        used = await tenancy.quotas.usage(await tenancy.tenants.existing(slug))
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
