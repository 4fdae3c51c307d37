"""Reads of what is not kept here, which find nothing: traces, scorers, evaluation datasets, issues;
and what MLflow's page asks when it opens: telemetry, gateway and assistant, which are off.

Without these answers the page shows errors that its user has no part in. What would write is not
among them: nobody should take for kept what is not.
"""

from typing import Any

import msgspec

from app.api.mlflow.fields import Required
from app.api.mlflow.router import Answer, Call, Empty, Routes
from app.kernel import validation
from app.kernel.errors import InvalidValueError
from app.kernel.principal import Role

routes = Routes()

NOTHING = b"{}"  # MLflow leaves out empty lists

_MAX_TRACES = 500


class SearchTraces(msgspec.Struct):
    """The search for traces of MLflow 2."""

    experiment_ids: list[str]
    filter: str = ""
    max_results: int = 100
    order_by: list[str] = []
    page_token: str = ""


class SearchTracesV3(msgspec.Struct):
    locations: list[dict[str, Any]]
    filter: str = ""
    max_results: int = 100
    order_by: list[str] = []
    page_token: str = ""


class QueryTraceMetrics(msgspec.Struct):
    experiment_ids: list[str]
    view_type: str | int
    metric_name: Required
    aggregations: list[Any]
    page_token: str = ""


class ListScorers(msgspec.Struct):
    experiment_id: str = ""
    experiment_ids: list[str] = []


class SearchDatasets(msgspec.Struct):
    experiment_ids: list[str] = []
    filter_string: str = ""
    max_results: int = 0
    order_by: list[str] = []
    page_token: str = ""


class SearchIssues(msgspec.Struct):
    experiment_id: str = ""
    filter_string: str = ""
    max_results: int = 0
    page_token: str = ""


@routes.add("GET", "traces", SearchTraces, Role.READ)
async def search_traces(call: Call, message: SearchTraces) -> Answer:
    return _no_traces(message)


@routes.add("POST", "traces/search", SearchTracesV3, Role.READ)
async def search_traces_v3(call: Call, message: SearchTracesV3) -> Answer:
    return _no_traces(message)


@routes.add("POST", "traces/metrics", QueryTraceMetrics, Role.READ)
async def query_trace_metrics(call: Call, message: QueryTraceMetrics) -> Answer:
    return NOTHING


@routes.add("GET", "scorers/list", ListScorers, Role.READ)
async def list_scorers(call: Call, message: ListScorers) -> Answer:
    if message.experiment_id and message.experiment_ids:
        raise InvalidValueError(
            "Only one of 'experiment_id' and 'experiment_ids' may be given", field="experiment_ids"
        )
    return NOTHING


@routes.add("GET", "datasets/search", SearchDatasets, Role.READ)
@routes.add("POST", "datasets/search", SearchDatasets, Role.READ)
async def search_datasets(call: Call, message: SearchDatasets) -> Answer:
    return NOTHING


@routes.add("POST", "issues/search", SearchIssues, Role.READ)
async def search_issues(call: Call, message: SearchIssues) -> Answer:
    return b'{"next_page_token":""}'


@routes.add("GET", "gateway/secrets/config", Empty, Role.READ)
async def gateway_secrets_config(call: Call, message: Empty) -> Answer:
    return b'{"secrets_available":false,"using_default_passphrase":false}'


@routes.add("GET", "gateway-proxy", Empty, Role.READ)
async def gateway_proxy(call: Call, message: Empty) -> Answer:
    """As of a gateway without endpoints."""
    return b'{"endpoints":[]}'


@routes.add("GET", "assistant/config", Empty, Role.READ)
async def assistant_config(call: Call, message: Empty) -> Answer:
    return b'{"providers":{},"projects":{},"remote_access_allowed":false}'


@routes.add("GET", "assistant/providers", Empty, Role.READ)
async def assistant_providers(call: Call, message: Empty) -> Answer:
    return b'{"providers":[],"resolved":null,"gateway_vendor_options":{}}'


@routes.add("GET", "ui-telemetry", Empty, Role.READ)
async def ui_telemetry(call: Call, message: Empty) -> Answer:
    """The page sends nothing where it is told so."""
    return b'{"disable_ui_telemetry":true,"disable_ui_events":[],"ui_rollout_percentage":0}'


@routes.add("POST", "ui-telemetry", Empty, Role.READ)
async def take_no_ui_telemetry(call: Call, message: Empty) -> Answer:
    return b'{"status":"disabled"}'


def _no_traces(message: SearchTraces | SearchTracesV3) -> Answer:
    if message.max_results > _MAX_TRACES:
        raise validation.invalid(
            "max_results", message.max_results, f"it must be at most {_MAX_TRACES}"
        )
    return NOTHING
