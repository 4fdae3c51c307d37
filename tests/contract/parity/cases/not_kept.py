"""Searches for what this server does not keep, in servers that hold none of it; and what MLflow's
page asks for by itself."""

from tests.contract.parity.cases.calls import Call, Case, Json, get, post

LOCATION = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}
METRIC: dict[str, Json] = {
    "experiment_ids": ["0"],
    "view_type": "TRACES",
    "metric_name": "trace_count",
    "aggregations": [{"aggregation_type": "COUNT"}],
}


def page_get(path: str, /, **query: str) -> Call:
    return Call("GET", f"/ajax-api/3.0/mlflow/{path}", query=list(query.items()))


def page_post(path: str, /, **body: Json) -> Call:
    return Call("POST", f"/ajax-api/3.0/mlflow/{path}", body)


CASES: dict[str, Case] = {
    "traces": [
        get("traces", experiment_ids=["0"]),
        get("traces", experiment_ids=["0", "1"], filter="tags.a = 'b'", max_results=10),
        get("traces"),
        get("traces", experiment_ids="0", max_results=501),
        page_post("traces/search", locations=[LOCATION], max_results=25, order_by=[]),
        page_post("traces/search", locations=[LOCATION], filter="trace.status = 'OK'"),
        page_post("traces/search", locations=[]),
        page_post("traces/search"),
        page_post("traces/search", locations=[LOCATION], max_results=501),
        page_post("traces/search", locations=[LOCATION], max_results="x"),
    ],
    "the metrics of traces": [
        page_post("traces/metrics", **METRIC),
        page_post("traces/metrics", **METRIC | {"view_type": 1}),
        *(
            page_post("traces/metrics", **{key: one for key, one in METRIC.items() if key != name})
            for name in METRIC
        ),
    ],
    "scorers": [
        page_get("scorers/list", experiment_id="0"),
        page_get("scorers/list", experiment_ids="0"),
        page_get("scorers/list"),
    ],
    "evaluation datasets": [
        page_post("datasets/search", experiment_ids=["0"], max_results=50),
        page_post("datasets/search"),
        page_get("datasets/search", experiment_ids="0"),
    ],
    "issues": [
        page_post("issues/search", experiment_id="0", include_trace_count=True),
        page_post("issues/search"),
    ],
    "what the page asks when it opens": [
        page_get("ui-telemetry"),
        Call(
            "GET",
            "/ajax-api/2.0/mlflow/gateway-proxy",
            query=[("gateway_path", "api/2.0/endpoints/")],
        ),
        page_post("ui-telemetry", records=[]),
        page_get("gateway/secrets/config"),
        post("/ajax-api/3.0/mlflow/ui-telemetry"),
    ],
}
