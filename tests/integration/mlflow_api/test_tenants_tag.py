"""The tag `matih.tenant_id` comes along where a run, an experiment or a model is copied with its
tags: it is ignored in every write, whichever tenant it names."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from app.kernel.tenant import Tenant
from tests.integration.mlflow_api.model_calls import API
from tests.integration.mlflow_api.tracking_calls import (
    done,
    get_experiment,
    get_run,
    new_experiment,
    new_run,
    ok,
    post,
    tags_of,
)

TAG = "matih.tenant_id"
V1 = "/api/v1/experiments"

Write = Callable[[httpx.AsyncClient, dict[str, str]], Awaitable[dict[str, str]]]
"""Sets tags on something, and returns those that it has then."""


def listed(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


async def create_experiment(client: httpx.AsyncClient, tags: dict[str, str]) -> dict[str, str]:
    return tags_of(await get_experiment(client, await new_experiment(client, tags=listed(tags))))


async def set_experiment_tag(client: httpx.AsyncClient, tags: dict[str, str]) -> dict[str, str]:
    for tag in listed(tags):
        done(await post(client, "experiments/set-experiment-tag", experiment_id="0", **tag))
    return tags_of(await get_experiment(client, "0"))


async def create_run(client: httpx.AsyncClient, tags: dict[str, str]) -> dict[str, str]:
    created = ok(await post(client, "runs/create", tags=listed(tags)))["run"]
    read = await get_run(client, created["info"]["run_id"])
    assert tags_of(created["data"]) == tags_of(read["data"])
    return tags_of(read["data"])


async def set_tag(client: httpx.AsyncClient, tags: dict[str, str]) -> dict[str, str]:
    run_id = await new_run(client)
    for tag in listed(tags):
        done(await post(client, "runs/set-tag", run_id=run_id, **tag))
    return tags_of((await get_run(client, run_id))["data"])


async def log_batch(client: httpx.AsyncClient, tags: dict[str, str]) -> dict[str, str]:
    run_id = await new_run(client)
    done(await post(client, "runs/log-batch", run_id=run_id, tags=listed(tags)))
    return tags_of((await get_run(client, run_id))["data"])


async def create_logged_model(client: httpx.AsyncClient, tags: dict[str, str]) -> dict[str, str]:
    answer = ok(await post(client, "logged-models", experiment_id="0", tags=listed(tags)))
    return tags_of(answer["model"]["info"])


async def set_logged_model_tags(client: httpx.AsyncClient, tags: dict[str, str]) -> dict[str, str]:
    created = ok(await post(client, "logged-models", experiment_id="0"))["model"]["info"]
    url = f"{API}/logged-models/{created['model_id']}"
    done(await client.patch(f"{url}/tags", json={"tags": listed(tags)}))
    return tags_of(ok(await client.get(url))["model"]["info"])


async def create_registered_model(
    client: httpx.AsyncClient, tags: dict[str, str]
) -> dict[str, str]:
    answer = ok(await post(client, "registered-models/create", name="m", tags=listed(tags)))
    return tags_of(answer["registered_model"])


async def set_registered_model_tag(
    client: httpx.AsyncClient, tags: dict[str, str]
) -> dict[str, str]:
    ok(await post(client, "registered-models/create", name="m"))
    for tag in listed(tags):
        done(await post(client, "registered-models/set-tag", name="m", **tag))
    answer = ok(await client.get(f"{API}/registered-models/get?name=m"))
    return tags_of(answer["registered_model"])


async def create_model_version(client: httpx.AsyncClient, tags: dict[str, str]) -> dict[str, str]:
    ok(await post(client, "registered-models/create", name="m"))
    message = {"name": "m", "source": "s3://b/m", "tags": listed(tags)}
    return tags_of(ok(await post(client, "model-versions/create", **message))["model_version"])


async def set_model_version_tag(client: httpx.AsyncClient, tags: dict[str, str]) -> dict[str, str]:
    await create_model_version(client, {})
    for tag in listed(tags):
        done(await post(client, "model-versions/set-tag", name="m", version="1", **tag))
    answer = ok(await client.get(f"{API}/model-versions/get?name=m&version=1"))
    return tags_of(answer["model_version"])


async def workbench_experiment(client: httpx.AsyncClient, tags: dict[str, str]) -> dict[str, str]:
    answer = await client.post(V1, json={"name": "e", "tags": tags})
    assert answer.status_code == 201, answer.text
    return answer.json()["tags"]


async def workbench_experiment_update(
    client: httpx.AsyncClient, tags: dict[str, str]
) -> dict[str, str]:
    return ok(await client.patch(f"{V1}/0", json={"tags": tags}))["tags"]


async def workbench_run(client: httpx.AsyncClient, tags: dict[str, str]) -> dict[str, str]:
    answer = await client.post(f"{V1}/runs", json={"experiment_id": "0", "tags": tags})
    assert answer.status_code == 201, answer.text
    return answer.json()["tags"]


async def workbench_run_update(client: httpx.AsyncClient, tags: dict[str, str]) -> dict[str, str]:
    url = f"{V1}/runs/{await new_run(client)}"
    return ok(await client.patch(url, json={"tags": tags}))["tags"]


async def workbench_log_batch(client: httpx.AsyncClient, tags: dict[str, str]) -> dict[str, str]:
    url = f"{V1}/runs/{await new_run(client)}"
    ok(await client.post(f"{url}/log-batch", json={"tags": tags}))
    return ok(await client.get(url))["tags"]


# Of experiments and runs, which show the tag of their own tenant.
TRACKING: list[Write] = [
    *(create_experiment, set_experiment_tag, create_run, set_tag, log_batch),
    *(workbench_experiment, workbench_experiment_update),
    *(workbench_run, workbench_run_update, workbench_log_batch),
]
MODELS: list[Write] = [
    *(create_logged_model, set_logged_model_tags),
    *(create_registered_model, set_registered_model_tag),
    *(create_model_version, set_model_version_tag),
]


@pytest.mark.parametrize("write", TRACKING)
@pytest.mark.parametrize("slug", [None, "another-tenant", "", "no slug!"])
async def test_of_experiments_and_runs(
    client: httpx.AsyncClient, tenant: Tenant, write: Write, slug: str | None
) -> None:
    tags = await write(client, {"a": "1", TAG: tenant.slug if slug is None else slug, "b": "2"})
    tags.pop("mlflow.runName", None)
    assert tags == {"a": "1", "b": "2", TAG: tenant.slug}


@pytest.mark.parametrize("write", MODELS)
@pytest.mark.parametrize("slug", [None, "another-tenant"])
async def test_of_models(
    client: httpx.AsyncClient, tenant: Tenant, write: Write, slug: str | None
) -> None:
    tags = {"a": "1", TAG: tenant.slug if slug is None else slug, "b": "2"}
    assert await write(client, tags) == {"a": "1", "b": "2"}


async def test_is_not_stored(client: httpx.AsyncClient) -> None:
    """A copy in another tenant is found by that one's slug only."""
    await new_run(client, tags=listed({TAG: "another-tenant"}))
    search: dict[str, Any] = {"filter": f"tags.`{TAG}` = 'another-tenant'"}
    assert ok(await post(client, "runs/search", experiment_ids=["0"], **search)) == {}


async def test_does_not_count(client: httpx.AsyncClient) -> None:
    """A run with as many tags as it may have can be copied with the derived ones."""
    most = {f"t{number}": "v" for number in range(1_000)}
    run_id = await new_run(client, tags=listed(most))
    tags = (await get_run(client, run_id))["data"]["tags"]
    assert len(tags) == 1_002
    copy = await new_run(client, tags=tags)
    assert (await get_run(client, copy))["data"]["tags"] == tags
