"""Assertions and helpers of the workbench API's tests."""

from typing import Any
from urllib.parse import unquote

import httpx

V1 = "/api/v1"
RUNS = f"{V1}/experiments/runs"
ABSENT_RUN = "00000000000070008000000000000000"


def assert_problem(
    response: httpx.Response, status: int, field: str | None = None
) -> dict[str, Any]:
    """The answer is a problem with that status, and names `field` if given."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["type"].startswith("urn:tracking:")
    assert problem["title"]
    assert problem["detail"]
    path = response.request.url.raw_path.decode().partition("?")[0]
    assert unquote(problem["instance"]) == unquote(path)
    if field is not None:
        assert [error["field"] for error in problem["errors"]] == [field], problem
    return problem


async def new_experiment(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    response = await client.post(f"{V1}/experiments", json=body)
    assert response.status_code == 201, response.text
    created: dict[str, Any] = response.json()
    return created


async def new_run(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    """A new run, by default in experiment 0."""
    response = await client.post(RUNS, json={"experiment_id": "0"} | body)
    assert response.status_code == 201, response.text
    created: dict[str, Any] = response.json()
    return created


async def log(client: httpx.AsyncClient, run_id: str, **body: Any) -> None:
    response = await client.post(f"{RUNS}/{run_id}/log-batch", json=body)
    assert response.status_code == 200, response.text
