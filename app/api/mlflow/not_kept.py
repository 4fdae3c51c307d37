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


@routes.add("GET", "scorers/list", ListScorers, Role.READ)
async def list_scorers(call: Call, message: ListScorers) -> Answer:
    if message.experiment_id and message.experiment_ids:
        raise InvalidValueError(
            "Only one of 'experiment_id' and 'experiment_ids' may be given", field="experiment_ids"
        )
    return NOTHING


def _always(method: str, path: str, message: type[msgspec.Struct], answer: bytes) -> None:
    """Serve a path whose answer is the same for every well-formed message."""

    @routes.add(method, path, message, Role.READ)
    async def constant(call: Call, message: msgspec.Struct) -> Answer:
        return answer


_always("POST", "traces/metrics", QueryTraceMetrics, NOTHING)
_always("GET", "datasets/search", SearchDatasets, NOTHING)
_always("POST", "datasets/search", SearchDatasets, NOTHING)
_always("POST", "issues/search", SearchIssues, b'{"next_page_token":""}')
_always(
    "GET",
    "gateway/secrets/config",
    Empty,
    b'{"secrets_available":false,"using_default_passphrase":false}',
)
_always("GET", "gateway-proxy", Empty, b'{"endpoints":[]}')
_always(
    "GET",
    "assistant/config",
    Empty,
    b'{"providers":{},"projects":{},"remote_access_allowed":false}',
)
_always(
    "GET",
    "assistant/providers",
    Empty,
    b'{"providers":[],"resolved":null,"gateway_vendor_options":{}}',
)
# The page sends nothing where it is told so.
_always(
    "GET",
    "ui-telemetry",
    Empty,
    b'{"disable_ui_telemetry":true,"disable_ui_events":[],"ui_rollout_percentage":0}',
)
_always("POST", "ui-telemetry", Empty, b'{"status":"disabled"}')


def _no_traces(message: SearchTraces | SearchTracesV3) -> Answer:
    if message.max_results > _MAX_TRACES:
        raise validation.invalid(
            "max_results", message.max_results, f"it must be at most {_MAX_TRACES}"
        )
    return NOTHING
