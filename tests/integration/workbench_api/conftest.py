"""Fixtures of the workbench API's tests."""

from typing import Any

import httpx
import pytest_asyncio

from tests.integration.workbench_api.support import V1


@pytest_asyncio.fixture
async def experiment(client: httpx.AsyncClient) -> dict[str, Any]:
    response = await client.post(f"{V1}/experiments", json={"name": "churn"})
    assert response.status_code == 201, response.text
    return response.json()


@pytest_asyncio.fixture
async def run(client: httpx.AsyncClient, experiment: dict[str, Any]) -> dict[str, Any]:
    response = await client.post(
        f"{V1}/experiments/runs", json={"experiment_id": experiment["id"], "name": "baseline"}
    )
    assert response.status_code == 201, response.text
    return response.json()


@pytest_asyncio.fixture
async def deleted_run(client: httpx.AsyncClient, run: dict[str, Any]) -> dict[str, Any]:
    response = await client.delete(f"{V1}/experiments/runs/{run['id']}")
    assert response.status_code == 204, response.text
    return run
