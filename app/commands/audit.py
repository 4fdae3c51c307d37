"""`tracking audit`: prints the audit log."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from app.audit.log_reader import Filter, read_all
from app.commands.console import check_schema, load_settings, owner_url


def audit(
    tenant: Annotated[
        str | None, typer.Option(help="Only events of this tenant, which may be deleted.")
    ] = None,
    actor: Annotated[str | None, typer.Option(help="Only events by this caller.")] = None,
    action: Annotated[
        str | None, typer.Option(help="Only events of this kind, as run.delete or key.create.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Only events on the object with this id or name.")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(help="Only events at this time or later (UTC).")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(help="Only events before this time (UTC).")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The greatest number of events.")] = 1000,
) -> None:
    """Print the audit log, newest event first, one JSON object on a line."""
    wanted = Filter(tenant, actor, action, target, _epoch_ms(since), _epoch_ms(until))
    with owner_url(load_settings()) as url:
        check_schema(url)
        for event in read_all(url, wanted, limit):
            typer.echo(msgspec.json.encode(event))


def _epoch_ms(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.replace(tzinfo=UTC).timestamp() * 1000)
