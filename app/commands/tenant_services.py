"""The services that commands on tenants and keys use, on a connection of the schema's owner."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from app.auth.api_keys import ApiKeys
from app.commands.console import check_schema, load_settings, owner_url
from app.db.database import Database
from app.tenants.lookup import TenantLookup
from app.tenants.quotas import Quotas

Result = TypeVar("Result")


@dataclass(frozen=True)
class TenantServices:
    """A database with one connection, and the services on it."""

    database: Database
    tenants: TenantLookup
    keys: ApiKeys
    quotas: Quotas


def run(work: Callable[[TenantServices], Awaitable[Result]]) -> Result:
    """Run a command's work. Raises CommandError, and what the services raise."""
    with owner_url(load_settings()) as url:
        check_schema(url)
        return asyncio.run(_run_connected(url, work))


async def _run_connected(url: str, work: Callable[[TenantServices], Awaitable[Result]]) -> Result:
    database = Database(url, pool_size=1)
    try:
        tenants = TenantLookup(database, creates=False)
        quotas = Quotas(database, tenants, workers=1)
        return await work(TenantServices(database, tenants, ApiKeys(database), quotas))
    finally:
        await database.close()
