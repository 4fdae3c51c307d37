"""Calls that create and read experiments and runs, and assertions about answers."""

from typing import Any

import httpx

from tests.integration.mlflow_api.model_calls import API, refused

NO_RUN = "0" * 32
NO_EXPERIMENT = "999999999999999999"


async def post(client: httpx.AsyncClient, route: str, **message: Any) -> httpx.Response:
    return await client.post(f"{API}/{route}", json=message)


async def get(client: httpx.AsyncClient, route: str, **fields: Any) -> httpx.Response:
    return await client.get(f"{API}/{route}", params=fields)


def ok(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def done(answer: httpx.Response) -> None:
    """The answer is empty."""
    assert (answer.status_code, answer.text) == (200, "{}")


def missing(answer: httpx.Response, field: str) -> None:
    refused(
        answer,
        400,
        "INVALID_PARAMETER_VALUE",
        f"Missing value for required parameter '{field}'."
        " See the API docs for more information about request parameters.",
    )


def wrong_type(answer: httpx.Response, field: str, shown: str, type_name: str) -> None:
    refused(
        answer,
        400,
        "INVALID_PARAMETER_VALUE",
        f"Invalid value {shown} for parameter '{field}' supplied:  Hint: Value was of type"
        f" '{type_name}'. See the API docs for more information about request parameters.",
    )


def absent_run(answer: httpx.Response, run_id: str) -> None:
    refused(answer, 404, "RESOURCE_DOES_NOT_EXIST", f"Run with id={run_id} not found")


def absent_experiment(answer: httpx.Response, experiment_id: str) -> None:
    message = f"No Experiment with id={experiment_id} exists"
    refused(answer, 404, "RESOURCE_DOES_NOT_EXIST", message)


def run_is_deleted(answer: httpx.Response, run_id: str) -> None:
    refused(
        answer,
        400,
        "INVALID_PARAMETER_VALUE",
        f"The run {run_id} must be in the 'active' state. Current state is deleted.",
    )


async def new_experiment(client: httpx.AsyncClient, name: str = "exp", **fields: Any) -> str:
    created = ok(await post(client, "experiments/create", name=name, **fields))
    return created["experiment_id"]


async def get_experiment(client: httpx.AsyncClient, experiment_id: str) -> dict[str, Any]:
    return ok(await get(client, "experiments/get", experiment_id=experiment_id))["experiment"]


async def experiment_names(client: httpx.AsyncClient) -> list[str]:
    """The names of all the tenant's experiments, the newest first."""
    found = ok(await post(client, "experiments/search", view_type="ALL", max_results=1000))
    return [one["name"] for one in found.get("experiments", [])]


async def new_run(client: httpx.AsyncClient, experiment_id: str = "0", **fields: Any) -> str:
    created = ok(await post(client, "runs/create", experiment_id=experiment_id, **fields))
    return created["run"]["info"]["run_id"]


async def deleted_run(client: httpx.AsyncClient) -> str:
    run_id = await new_run(client)
    done(await post(client, "runs/delete", run_id=run_id))
    return run_id


async def get_run(client: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    return ok(await get(client, "runs/get", run_id=run_id))["run"]


async def data_of(client: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    """A run's latest values, params and tags by key, without the derived tags."""
    data = (await get_run(client, run_id))["data"]
    tags = tags_of(data)
    del tags["mlflow.runName"], tags["matih.tenant_id"]
    return {
        "metrics": {one["key"]: one["value"] for one in data.get("metrics", [])},
        "params": {one["key"]: one["value"] for one in data.get("params", [])},
        "tags": tags,
    }


NOTHING: dict[str, Any] = {"metrics": {}, "params": {}, "tags": {}}


def tags_of(shown: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in shown.get("tags", [])}


def pairs(**values: str) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


async def log_steps(
    client: httpx.AsyncClient, run_id: str, key: str, values: list[float], start: int = 0
) -> None:
    """One value per step, at the timestamps 1000, 1001, …"""
    metrics = [
        {"key": key, "value": value, "timestamp": 1000 + step, "step": step}
        for step, value in enumerate(values, start)
    ]
    done(await post(client, "runs/log-batch", run_id=run_id, metrics=metrics))


async def history(client: httpx.AsyncClient, run_id: str, key: str) -> list[dict[str, Any]]:
    answer = ok(await get(client, "metrics/get-history", run_id=run_id, metric_key=key))
    return answer.get("metrics", [])
