"""Calls that log models and datasets, and their expected answers."""

from typing import Any

import httpx

API = "/api/2.0/mlflow"
MODELS = f"{API}/logged-models"
LOG = f"{API}/runs/log-inputs"
NOWHERE = "m-" + "0" * 32


async def create(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post(MODELS, json={"experiment_id": "0", **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()["model"]


async def create_id(client: httpx.AsyncClient, **fields: Any) -> str:
    return (await create(client, **fields))["info"]["model_id"]


async def get(client: httpx.AsyncClient, model_id: str) -> dict[str, Any]:
    answer = await client.get(f"{MODELS}/{model_id}", params={"allow_deleted": "true"})
    assert answer.status_code == 200, answer.text
    return answer.json()["model"]


async def create_run(client: httpx.AsyncClient) -> str:
    answer = await client.post(f"{API}/runs/create", json={"experiment_id": "0"})
    return answer.json()["run"]["info"]["run_id"]


async def log_metric(client: httpx.AsyncClient, run_id: str, model_id: str, **point: Any) -> None:
    answer = await client.post(
        f"{API}/runs/log-metric", json={"run_id": run_id, "model_id": model_id, **point}
    )
    assert answer.status_code == 200, answer.text


def refused(answer: httpx.Response, status: int, code: str, message: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.json() == {"error_code": code, "message": message}


def not_found(answer: httpx.Response, model_id: str) -> None:
    message = f"Logged model with ID '{model_id}' not found."
    refused(answer, 404, "RESOURCE_DOES_NOT_EXIST", message)


def invalid(answer: httpx.Response, *parts: str) -> None:
    """The answer is a 400 whose message contains each of `parts`."""
    assert answer.status_code == 400, answer.text
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    for part in parts:
        assert part in answer.json()["message"]


def dataset(**fields: str) -> dict[str, str]:
    return {"name": "d", "digest": "g", "source_type": "local", "source": "s"} | fields


def one(dataset: dict[str, str], **tags: str) -> dict[str, Any]:
    shown = {"dataset": dataset}
    if tags:
        shown["tags"] = [{"key": key, "value": value} for key, value in tags.items()]
    return shown


async def log(client: httpx.AsyncClient, run_id: str, *datasets: dict[str, Any]) -> None:
    answer = await client.post(LOG, json={"run_id": run_id, "datasets": list(datasets)})
    assert (answer.status_code, answer.json()) == (200, {})
