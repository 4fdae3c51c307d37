"""The services of tenants and keys for a command, on the schema owner's connection."""

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
class Tenancy:
    tenants: TenantLookup
    keys: ApiKeys
    quotas: Quotas


def run(work: Callable[[Tenancy], Awaitable[Result]]) -> Result:
    """Do what a command is for. Raises CommandError, and what the services raise."""
    with owner_url(load_settings()) as url:
        check_schema(url)
        return asyncio.run(_connected(url, work))


async def _connected(url: str, work: Callable[[Tenancy], Awaitable[Result]]) -> Result:
    database = Database(url, pool_size=1)
    try:
        tenants = TenantLookup(database, creates=False)
        quotas = Quotas(database, tenants, workers=1)
        return await work(Tenancy(tenants, ApiKeys(database), quotas))
    finally:
        await database.close()
