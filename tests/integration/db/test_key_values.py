"""Reading objects with many tags and params takes bounded memory."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from app.db import key_values
from app.db.database import Database
from app.experiments.service import Experiments
from app.kernel.tenant import Tenant
from app.logged_models.service import LoggedModels
from app.registry.model_versions import ModelVersions
from app.registry.registered_models import RegisteredModels
from app.services import Services
from tests.conftest import Postgres
from tests.support.backend_memory import growth

# As one JSON object, each of these took a backend 90 MB and more.
MOST_MB = 30


@pytest_asyncio.fixture
async def alone(postgres: Postgres) -> AsyncIterator[Database]:
    """One connection, so that it is known which backend answers."""
    database = Database(postgres.app_url, pool_size=1)
    yield database
    await database.close()


@pytest.fixture(autouse=True)
def more_than_may_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much as may have come from another server."""
    monkeypatch.setattr(key_values, "MAX_VALUES_BYTES", 1 << 30)


async def test_an_experiment(services: Services, tenant: Tenant, alone: Database) -> None:
    tags = {f"k{number}": "x" * 20_000 for number in range(1_000)}
    of = str(await services.experiments.create(tenant, "wide", tags=tags))
    reading = Experiments(alone, services.memory, services.tenant_lookup, tenant_tag=False).get(
        tenant, of
    )
    assert await growth(alone, tenant, reading) < MOST_MB
    assert (await services.experiments.get(tenant, of)).tags.keys() >= tags.keys()


async def test_a_logged_model(services: Services, tenant: Tenant, alone: Database) -> None:
    """Its values are such that JSON writes six letters for each."""
    params = {f"k{number}": "\x01" * 65_535 for number in range(200)}
    model = await services.models.create(tenant, "0", params=params)
    models = LoggedModels(alone, services.memory, services.tenant_lookup)
    assert await growth(alone, tenant, models.get(tenant, model.model_id)) < MOST_MB
    assert (await services.models.get(tenant, model.model_id)).params == params


async def test_the_registry(services: Services, tenant: Tenant, alone: Database) -> None:
    tags = {f"k{number}": "x" * 100_000 for number in range(200)}
    await services.registered_models.create(tenant, "wide", tags=tags)
    await services.model_versions.create(tenant, "wide", "s3://bucket/model", tags=tags)
    for reading in (
        RegisteredModels(alone, services.memory, services.tenant_lookup).get(tenant, "wide"),
        ModelVersions(alone, services.memory).get(tenant, "wide", "1"),
    ):
        assert await growth(alone, tenant, reading) < MOST_MB
    assert (await services.registered_models.get(tenant, "wide")).tags == tags
