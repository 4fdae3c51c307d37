"""What is not kept here is found by no search, and the features of MLflow's page that need it are
off."""

from typing import Any

import httpx
import pytest

from tests.integration.mlflow_api.model_calls import refused
from tests.integration.mlflow_api.tracking_calls import ok

LOCATION = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}
METRIC = {
    "experiment_ids": ["0"],
    "view_type": "TRACES",
    "metric_name": "trace_count",
    "aggregations": [{"aggregation_type": "COUNT"}],
}


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("GET", "/ajax-api/2.0/mlflow/traces", {"experiment_ids": "0", "max_results": "100"}),
        ("GET", "/api/2.0/mlflow/traces", {"experiment_ids": ["0", "1"], "filter": "x"}),
        ("POST", "/api/3.0/mlflow/traces/search", {"locations": [LOCATION], "order_by": ["x"]}),
        ("POST", "/ajax-api/3.0/mlflow/traces/metrics", METRIC),
        ("GET", "/ajax-api/3.0/mlflow/scorers/list", {"experiment_id": "0"}),
        ("GET", "/api/3.0/mlflow/scorers/list", {}),
        ("POST", "/api/3.0/mlflow/datasets/search", {"experiment_ids": ["0"], "max_results": 50}),
        ("GET", "/api/3.0/mlflow/datasets/search", {"experiment_ids": "0"}),
    ],
)
async def test_searches_find_nothing(
    client: httpx.AsyncClient, method: str, path: str, message: dict[str, Any]
) -> None:
    how: dict[str, Any] = {"params": message} if method == "GET" else {"json": message}
    assert ok(await client.request(method, path, **how)) == {}


async def test_a_search_for_issues(client: httpx.AsyncClient) -> None:
    """Names the next page in MLflow, too, as an empty text."""
    found = await client.post("/ajax-api/3.0/mlflow/issues/search", json={"experiment_id": "0"})
    assert ok(found) == {"next_page_token": ""}


@pytest.mark.parametrize(
    ("path", "message", "field"),
    [
        ("traces/search", {}, "locations"),
        ("traces/search", {"locations": "0"}, "locations"),
        ("traces/search", {"locations": [LOCATION], "max_results": 501}, "max_results"),
        ("traces/search", {"locations": [LOCATION], "max_results": "many"}, "max_results"),
        *(
            ("traces/metrics", {key: one for key, one in METRIC.items() if key != name}, name)
            for name in METRIC
        ),
        ("datasets/search", {"experiment_ids": "0"}, "experiment_ids"),
        ("issues/search", {"filter_string": 1}, "filter_string"),
    ],
)
async def test_malformed_searches(
    client: httpx.AsyncClient, path: str, message: dict[str, Any], field: str
) -> None:
    answer = await client.post(f"/api/3.0/mlflow/{path}", json=message)
    assert answer.status_code == 400
    error = answer.json()
    assert error["error_code"] == "INVALID_PARAMETER_VALUE"
    assert f"'{field}'" in error["message"]


async def test_scorers_of_one_experiment_or_of_several(client: httpx.AsyncClient) -> None:
    answer = await client.get(
        "/api/3.0/mlflow/scorers/list", params={"experiment_id": "0", "experiment_ids": "1"}
    )
    refused(
        answer,
        400,
        "INVALID_PARAMETER_VALUE",
        "Only one of 'experiment_id' and 'experiment_ids' may be given",
    )


async def test_the_pages_features_are_off(client: httpx.AsyncClient) -> None:
    api = "/ajax-api/3.0/mlflow"
    assert ok(await client.get(f"{api}/ui-telemetry")) == {
        "disable_ui_telemetry": True,
        "disable_ui_events": [],
        "ui_rollout_percentage": 0,
    }
    sent = await client.post(f"{api}/ui-telemetry", json={"records": [{"event_name": "x"}]})
    assert ok(sent) == {"status": "disabled"}
    assert ok(await client.get(f"{api}/gateway/secrets/config")) == {
        "secrets_available": False,
        "using_default_passphrase": False,
    }
    assert ok(await client.get(f"{api}/assistant/config")) == {
        "providers": {},
        "projects": {},
        "remote_access_allowed": False,
    }
    assert ok(await client.get(f"{api}/assistant/providers")) == {
        "providers": [],
        "resolved": None,
        "gateway_vendor_options": {},
    }


@pytest.mark.parametrize("version", ["2.0", "3.0"])
async def test_a_new_trace_is_refused(client: httpx.AsyncClient, version: str) -> None:
    """Whoever sends one should not take it for kept."""
    answer = await client.post(f"/api/{version}/mlflow/traces", json={"experiment_id": "0"})
    assert (answer.status_code, answer.json()["error_code"]) == (405, "ENDPOINT_NOT_FOUND")
