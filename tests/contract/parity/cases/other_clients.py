"""What MLflow clients in other languages send, as they send it: the types and the places of fields,
and the headers, are those of the clients for R, Java, Go, Julia and PHP, and of tools."""

import json

from tests.contract.parity.cases.calls import (
    Call,
    Case,
    Json,
    create_experiment,
    create_run,
    get,
    get_run,
    history,
    raw,
)

# R's client makes text of every value of a body, and R's own text of numbers.
R = {"content-type": "application/json", "accept": "application/json, text/xml, */*"}
# Java's and PHP's send a charset.
JAVA = {"content-type": "application/json; charset=utf-8"}


def body_of(method: str, path: str, headers: dict[str, str], /, **fields: Json) -> Call:
    return Call(method, path, content=json.dumps(fields).encode(), headers=headers)


def in_body(path: str, /, **fields: Json) -> Call:
    """A GET with a body, as Go's net/http sends it for a struct."""
    return body_of("GET", path, {"content-type": "application/json"}, **fields)


CASES: dict[str, Case] = {
    "R: numbers as text": [
        create_run(),
        body_of(
            *("POST", "runs/log-metric", R),
            run_uuid="$run",
            run_id="$run",
            key="m",
            value="0.25",
            timestamp="1.7e+12",
            step="1e+05",
        ),
        body_of(
            *("POST", "runs/log-metric", R),
            run_id="$run",
            key="m",
            value="1e-05",
            timestamp="1700000000001",
            step="2",
        ),
        history(),
        body_of(
            *("POST", "runs/search", R),
            experiment_ids=["0"],
            filter="",
            run_view_type="ACTIVE_ONLY",
            max_results="1e+05",
        ),
        get("experiments/search", view_type="ACTIVE_ONLY", max_results="1e+05"),
    ],
    "R: numbers of a body without a fraction": [
        create_run(),
        raw(
            "POST",
            "runs/log-batch",
            '{"run_id": "$run", "metrics": [{"key": "m", "value": 1, "timestamp": 1.7e+12,'
            ' "step": 1e+05}], "params": [], "tags": []}',
        ),
    ],
    "R: no value": [
        raw("POST", "runs/create", '{"experiment_id": "0", "start_time": "1", "tags": {}}'),
        raw("POST", "runs/create", '{"experiment_id": "0", "start_time": "1", "tags": []}'),
        raw("POST", "experiments/create", '{"name": "a", "artifact_location": null}'),
    ],
    "R: logical values": [
        get("logged-models/search", allow_deleted="TRUE"),
        body_of("POST", "registered-models/create", R, name="a"),
        body_of("POST", "model-versions/create", R, name="a", source="s3://bucket/m"),
        body_of(
            *("POST", "model-versions/transition-stage", R),
            name="a",
            version="1",
            stage="Production",
            archive_existing_versions="TRUE",
        ),
    ],
    "enums by their numbers": [
        create_experiment("a"),
        get("experiments/search", view_type="3", max_results="10"),
        body_of("POST", "experiments/search", JAVA, view_type=3, max_results=10),
        create_run(),
        body_of("POST", "runs/update", JAVA, run_id="$run", status=3, end_time=5),
        get_run(),
        body_of("POST", "runs/update", JAVA, run_id="$run", status="4"),
        get_run(),
        body_of("POST", "runs/search", JAVA, experiment_ids=["0"], run_view_type=1),
        body_of("POST", "runs/search", JAVA, experiment_ids=["0"], run_view_type="2"),
    ],
    "Java: 64-bit integers as text": [
        create_run(),
        body_of(
            *("POST", "runs/log-batch", JAVA),
            run_id="$run",
            metrics=[
                {"key": "m", "value": 0.5, "timestamp": "1700000000000", "step": "3"},
                {"key": "m", "value": "NaN", "timestamp": "1700000000001", "step": "4"},
                {"key": "m", "value": "-Infinity", "timestamp": "1700000000002", "step": "5"},
            ],
            params=[{"key": "p", "value": "1"}],
            tags=[{"key": "t", "value": "1"}],
        ),
        body_of("POST", "runs/update", JAVA, run_id="$run", status="FINISHED", end_time="5"),
        get_run(),
    ],
    "Go: GETs with bodies": [
        create_experiment("a"),
        in_body("experiments/get", experiment_id="$experiment"),
        in_body("experiments/get-by-name", experiment_name="a"),
        in_body("experiments/search", max_results=5, filter="name = 'a'"),
        in_body("experiments/search", max_results="5", view_type="DELETED_ONLY"),
        create_run(experiment_id="$experiment"),
        in_body("runs/get", run_id="$run"),
        in_body("metrics/get-history", run_id="$run", metric_key="none"),
        in_body("artifacts/list", run_id="$run"),
        in_body("artifacts/list", run_id="$run", path="../x"),
        in_body("registered-models/search", max_results=5),
        in_body("registered-models/get", name="none"),
        in_body("model-versions/search", filter="name = 'none'"),
        in_body("experiments/get"),
        in_body("experiments/get", experiment_id=["0"]),
    ],
    "export-import: a GET whose body is encoded twice": [
        create_experiment("a"),
        raw("GET", "experiments/search", json.dumps(json.dumps({"max_results": 7}))),
        raw("GET", "experiments/get-by-name", json.dumps(json.dumps({"experiment_name": "a"}))),
        raw("GET", "registered-models/search", json.dumps(json.dumps({"filter": "name = 'b'"}))),
    ],
    "a GET with a body and a query": [
        create_experiment("a"),
        Call(
            "GET",
            "experiments/get",
            query=[("experiment_id", "0")],
            content=b'{"experiment_id": "1"}',
            headers={"content-type": "application/json"},
        ),
        Call("GET", "experiments/get-by-name", content=b'{"experiment_name": "a"}'),
    ],
    "a DELETE with a body and a query": [
        body_of("POST", "registered-models/create", JAVA, name="a"),
        body_of("POST", "registered-models/set-tag", JAVA, name="a", key="k", value="v"),
        Call(
            "DELETE",
            "registered-models/delete-tag",
            query=[("name", "other"), ("key", "other")],
            content=b'{"name": "a", "key": "k"}',
            headers={"content-type": "application/json"},
        ),
        Call(
            "DELETE",
            "registered-models/delete",
            query=[("name", "other")],
            content=b'{"name": "a"}',
            headers={"content-type": "application/json"},
        ),
        get("registered-models/search"),
    ],
    "Julia and PHP: text of another language": [
        create_run("läuft 🚀"),
        raw(
            "POST",
            "runs/set-tag",
            '{"run_id": "$run", "key": "schlüssel", "value": "\\u00fc\\ud83d\\ude80\\/"}',
        ),
        get_run(),
        get("experiments/get-by-name", experiment_name="Versuch ü/+ &"),
    ],
    "PHP: null where nothing is given": [
        body_of(
            *("POST", "runs/create", JAVA),
            experiment_id="0",
            user_id=None,
            run_name=None,
            start_time=1,
            tags=None,
        ),
        body_of("POST", "runs/search", JAVA, experiment_ids=["0"], filter=None, order_by=None),
    ],
    "a slash at the end of the base URL": [
        Call("GET", "//api/2.0/mlflow/runs/get", query=[("run_id", "none")]),
        Call("POST", "//api/2.0/mlflow/experiments/create", {"name": "a"}),
    ],
    "HEAD and OPTIONS": [
        Call("HEAD", "experiments/get", query=[("experiment_id", "0")]),
        Call("HEAD", "experiments/get", query=[("experiment_id", "700000000000000009")]),
        Call("OPTIONS", "experiments/get"),
        Call("OPTIONS", "nothing/here"),
    ],
    "the version and the liveness probe": [Call("GET", "/version"), Call("GET", "/health")],
}
