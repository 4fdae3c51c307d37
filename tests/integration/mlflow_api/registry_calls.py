"""Calls of the model registry, and their expected answers."""

from typing import Any

import httpx

API = "/api/2.0/mlflow"
MODELS = f"{API}/registered-models"
VERSIONS = f"{API}/model-versions"


async def call(client: httpx.AsyncClient, method: str, url: str, **fields: Any) -> httpx.Response:
    """Send fields as MLflow's client does: in the query of a GET, else in the body."""
    if method == "GET":
        return await client.get(url, params=fields)
    return await client.request(method, url, json=fields)


async def ok(client: httpx.AsyncClient, method: str, url: str, **fields: Any) -> Any:
    answer = await call(client, method, url, **fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def create_model(client: httpx.AsyncClient, name: str = "m", **fields: Any) -> dict[str, Any]:
    answer = await ok(client, "POST", f"{MODELS}/create", name=name, **fields)
    return answer["registered_model"]


async def get_model(client: httpx.AsyncClient, name: str = "m") -> dict[str, Any]:
    return (await ok(client, "GET", f"{MODELS}/get", name=name))["registered_model"]


async def create_version(
    client: httpx.AsyncClient, name: str = "m", source: str = "s3://bucket/model", **fields: Any
) -> dict[str, Any]:
    answer = await ok(client, "POST", f"{VERSIONS}/create", name=name, source=source, **fields)
    return answer["model_version"]


async def get_version(
    client: httpx.AsyncClient, name: str = "m", version: str = "1"
) -> dict[str, Any]:
    answer = await ok(client, "GET", f"{VERSIONS}/get", name=name, version=version)
    return answer["model_version"]


async def create_run(client: httpx.AsyncClient) -> tuple[str, str]:
    """The id of a new run and the URI of its artifacts."""
    info = (await ok(client, "POST", f"{API}/runs/create", experiment_id="0"))["run"]["info"]
    return info["run_id"], info["artifact_uri"]


async def create_logged_model(client: httpx.AsyncClient, **fields: Any) -> tuple[str, str]:
    """The id of a new logged model and the URI of its artifacts."""
    answer = await ok(client, "POST", f"{API}/logged-models", experiment_id="0", **fields)
    info = answer["model"]["info"]
    return info["model_id"], info["artifact_uri"]


def pair(key: str, value: str) -> dict[str, str]:
    return {"key": key, "value": value}


IS_PROMPT = pair("mlflow.prompt.is_prompt", "true")


def refused(answer: httpx.Response, message: str) -> None:
    _error(answer, 400, "INVALID_PARAMETER_VALUE", message)


def taken(answer: httpx.Response, message: str) -> None:
    _error(answer, 400, "RESOURCE_ALREADY_EXISTS", message)


def not_found(answer: httpx.Response, message: str) -> None:
    _error(answer, 404, "RESOURCE_DOES_NOT_EXIST", message)


def no_model(answer: httpx.Response, name: str = "m") -> None:
    not_found(answer, f"Registered Model with name={name} not found")


def no_version(answer: httpx.Response, name: str = "m", version: str = "1") -> None:
    not_found(answer, f"Model Version (name={name}, version={version}) not found")


def missing(answer: httpx.Response, field: str) -> None:
    refused(
        answer,
        f"Missing value for required parameter '{field}'. See the API docs for more information"
        " about request parameters.",
    )


def _error(answer: httpx.Response, status: int, code: str, message: str) -> None:
    assert (answer.status_code, answer.json()) == (
        status,
        {"error_code": code, "message": message},
    )
