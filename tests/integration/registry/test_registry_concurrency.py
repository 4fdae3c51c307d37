"""Writers of one model at the same time."""

import asyncio

import pytest

from app.kernel.errors import AlreadyExistsError, NotFoundError
from app.kernel.tenant import Tenant
from app.services import Services


@pytest.fixture
async def model(services: Services, tenant: Tenant) -> str:
    return (await services.registered_models.create(tenant, "m")).name


async def test_versions_have_numbers_of_their_own(
    services: Services, tenant: Tenant, model: str
) -> None:
    made = await asyncio.gather(
        *(services.model_versions.create(tenant, model, "s3://bucket/a") for _ in range(40))
    )
    assert sorted(version.version for version in made) == list(range(1, 41))


async def test_a_refused_version_takes_no_number(
    services: Services, tenant: Tenant, model: str
) -> None:
    absent = "m-" + "0" * 32
    results = await asyncio.gather(
        *(
            services.model_versions.create(
                tenant, model, "s3://bucket/a", model_id=absent if n % 2 else None
            )
            for n in range(20)
        ),
        return_exceptions=True,
    )
    numbers = [one.version for one in results if not isinstance(one, BaseException)]
    assert sorted(numbers) == list(range(1, 11))


async def test_one_of_a_name(services: Services, tenant: Tenant) -> None:
    results = await asyncio.gather(
        *(services.registered_models.create(tenant, "same") for _ in range(10)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, AlreadyExistsError) for one in results) == 9


async def test_a_logged_model_is_told_of_each(
    services: Services, tenant: Tenant, model: str
) -> None:
    logged = await services.models.create(tenant, "0")
    await asyncio.gather(
        *(
            services.model_versions.create(
                tenant, model, f"models:/{logged.model_id}", model_id=logged.model_id
            )
            for _ in range(15)
        )
    )
    tags = (await services.models.get(tenant, logged.model_id)).tags
    assert tags["mlflow.modelVersions"].count('"version"') == 15


async def test_transitions_leave_one_in_the_stage(
    services: Services, tenant: Tenant, model: str
) -> None:
    for _ in range(8):
        await services.model_versions.create(tenant, model, "s3://bucket/a")
    await asyncio.gather(
        *(
            services.model_versions.transition(
                tenant, model, str(n), "Production", archive_existing_versions=True
            )
            for n in range(1, 9)
        )
    )
    versions, _ = await services.model_versions.search(tenant, limit=10)
    stages = [version.current_stage for version in versions]
    assert sorted(stages) == ["Archived"] * 7 + ["Production"]


async def test_everything_at_once(services: Services, tenant: Tenant, model: str) -> None:
    """Whatever wins, there is no deadlock and nothing but what the rules allow."""
    await services.model_versions.create(tenant, model, "s3://bucket/a")
    registered, versions = services.registered_models, services.model_versions
    results = await asyncio.gather(
        *(
            work
            for n in range(6)
            for work in (
                versions.create(tenant, model, "s3://bucket/a"),
                registered.set_alias(tenant, model, f"a{n}", "1"),
                registered.set_tag(tenant, model, f"k{n}", "v"),
                versions.set_tag(tenant, model, "1", f"k{n}", "v"),
                versions.transition(tenant, model, "1", "Staging"),
            )
        ),
        versions.delete(tenant, model, "1"),
        registered.rename(tenant, model, "n"),
        registered.delete(tenant, "n"),
        return_exceptions=True,
    )
    refused = [one for one in results if isinstance(one, BaseException)]
    assert all(isinstance(one, NotFoundError) for one in refused), refused
