"""`tracking gc`: what an operator runs now and then, by hand or by cron."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated

import typer

from app.artifacts.stores.contract import artifact_store
from app.commands.console import application, load_settings
from app.config import Settings
from app.db.database import Database
from app.gc.report import Progress, Report
from app.gc.service import GarbageCollector, Policy
from app.kernel.errors import InvalidValueError
from app.kernel.tenant import is_slug

_UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def gc(
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove it. Without this, it is only counted.")
    ] = False,
    tenant: Annotated[
        list[str] | None,
        typer.Option(help="Only this tenant; may be repeated. One that is gone may be named."),
    ] = None,
    archived_for: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Also remove what has been archived for so long, as 30d or 12h."
            " [default: TRACKING_RETENTION_DAYS]",
        ),
    ] = None,
    gone_tenants: Annotated[
        bool,
        typer.Option(
            "--gone-tenants",
            help="Also sweep the store after tenants that were deleted. Not where another"
            " deployment's buckets have names that start with this one's prefix.",
        ),
    ] = False,
    grace: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Leave alone what was uploaded within this time: it may not be done.",
        ),
    ] = "24h",
) -> None:
    """Remove what was archived long ago, and what crashes have left in the artifact store."""
    slugs = [_slug(one) for one in tenant or []]
    with application(load_settings()) as settings:
        retention = _retention(settings, archived_for)
        policy = Policy(delete=delete, retention=retention, grace=_time(grace, "grace"))
        asyncio.run(_run(settings, policy, slugs, gone_tenants=gone_tenants))


async def _run(settings: Settings, policy: Policy, slugs: list[str], *, gone_tenants: bool) -> None:
    assert settings.database_url
    database = Database(settings.database_url, pool_size=2)
    store = artifact_store(settings)
    collector = GarbageCollector(database, store)
    try:
        if slugs:
            tenants = [await collector.tenant(slug) for slug in slugs]
        else:
            tenants = await collector.tenants()
        for tenant in tenants:
            with _progress(tenant.slug) as progress:
                report = await collector.collect(tenant, policy, progress)
            typer.echo(f"{tenant.slug}: {_told(report, delete=policy.delete)}")
        for tenant in [] if slugs else await collector.gone():
            gone_policy = policy if gone_tenants else replace(policy, delete=False)
            with _progress(tenant.slug) as progress:
                report = await collector.collect(tenant, gone_policy, progress)
            if not report.clean:
                told = _told(report, delete=gone_policy.delete)
                typer.echo(f"{tenant.slug} (no tenant any more): {told}")
    finally:
        await store.close()
        await database.close()
    if not policy.delete:
        typer.echo("nothing was removed; --delete removes it", err=True)


@contextmanager
def _progress(slug: str) -> Iterator[Progress]:
    """A bar that shows what is being done, on a terminal; nothing elsewhere."""
    # Not for a server, which shares the command line's modules, to carry.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:

        def show(what: str, done: int, of: int | None) -> None:
            description = f"{slug}: {what}"
            for task in bar.tasks:
                if task.description == description:
                    bar.update(task.id, completed=done)
                    return
                bar.remove_task(task.id)
            bar.add_task(description, completed=done, total=of)

        yield show


def _told(report: Report, *, delete: bool) -> str:
    """The report in a line: what there was, or that there was nothing."""
    numbers = [
        (report.experiments, "experiments", 0),
        (report.runs, "runs", 0),
        (report.models, "logged models", 0),
        (report.points, "points", 0),
        (report.files.count, "of their files", report.files.bytes),
        (report.orphans.count, "objects without a file", report.orphans.bytes),
        (report.lost.count, "files without an object", report.lost.bytes),
        (report.uploads, "unfinished uploads", 0),
    ]
    found = [
        f"{count:,} {what}" + (f" ({size:,} bytes)" if size else "")
        for count, what, size in numbers
        if count
    ]
    told = f"{'removed' if delete else 'found'} {', '.join(found)}" if found else "clean"
    if report.kept:
        told += f"; kept {report.kept:,} archived, whose files the registry uses"
    return told


def _retention(settings: Settings, archived_for: str | None) -> int | None:
    if archived_for is not None:
        return _time(archived_for, "archived-for")
    days = settings.retention_days
    return None if days is None else days * _UNITS["d"]


def _time(text: str, option: str) -> int:
    """Milliseconds."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if match is None:
        raise InvalidValueError(
            f"--{option} is a number and a unit, as 90s, 30m, 12h or 30d, and not '{text}'",
            field=option,
        )
    return int(match[1]) * _UNITS[match[2]]


def _slug(text: str) -> str:
    if not is_slug(text):
        raise InvalidValueError(f"'{text}' is no tenant slug", field="tenant")
    return text
