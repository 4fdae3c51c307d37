"""What all routes share: bodies, content types, fields that are unknown or named otherwise."""

from tests.contract.parity.cases.calls import (
    Call,
    Case,
    create_experiment,
    create_run,
    get,
    post,
    raw,
)

CASES: dict[str, Case] = {
    "unknown fields are ignored": [
        create_run("a", unknown={"a": [1, None]}),
        post("runs/set-tag", run_id="$run", key="k", value="v", what=1),
        get("runs/get", run_id="$run", what="1"),
        create_experiment("a", unknown=1),
    ],
    "fields by their JSON names": [
        post("runs/create", experimentId="0", runName="by JSON name"),
    ],
    "a field by both its names": [
        post("runs/create", experiment_id="0", experimentId="0"),
    ],
    "a body that is no JSON": [raw("POST", "experiments/create", "{")],
    "a body that is no object": [
        raw("POST", "experiments/create", "null"),
        raw("POST", "experiments/create", ""),
        raw("POST", "runs/create", "{}"),
    ],
    "a body that is a list": [raw("POST", "experiments/create", "[]")],
    "a body that is a number": [raw("POST", "experiments/create", "1")],
    "a body that was encoded twice": [raw("POST", "experiments/create", '"{\\"name\\": \\"a\\"}"')],
    "a body of another type": [
        raw("POST", "experiments/create", '{"name": "a"}', **{"content-type": "text/plain"}),
    ],
    "a body of JSON with a charset": [
        raw(
            "POST",
            "experiments/create",
            '{"name": "a"}',
            **{"content-type": "application/json; charset=utf-8"},
        ),
    ],
    "a body of no type": [Call("POST", "experiments/create", content=b'{"name": "a"}')],
    "the same key twice": [
        raw("POST", "experiments/create", '{"name": "a", "name": "b"}'),
        get("experiments/get-by-name", experiment_name="b"),
    ],
    "a bare NaN": [
        create_run(),
        raw(
            "POST",
            "runs/log-batch",
            '{"run_id": "none", "metrics": [{"key": "m", "value": NaN, "timestamp": 1}]}',
        ),
    ],
    "half of a surrogate pair": [raw("POST", "experiments/create", '{"name": "\\ud800"}')],
    "a GET with its fields in the body": [
        raw("GET", "experiments/get", '{"experiment_id": "0"}'),
    ],
    "a GET with a field repeated": [
        get("experiments/get", experiment_id=["0", "1"]),
    ],
    "searches with their fields in the body": [
        create_experiment("a"),
        raw("GET", "experiments/search", '{"filter": "name = \'a\'", "max_results": 2}'),
        raw("GET", "registered-models/search", '{"filter": "name = \'a\'"}'),
        raw("GET", "experiments/search", "{"),
        raw("GET", "experiments/get", "[]"),
    ],
    "a route that is not there": [get("nothing/here"), post("nothing/here")],
    "a route with another method": [get("runs/create"), post("runs/get")],
    "a route with a slash at its end": [get("experiments/get/", experiment_id="0")],
    "routes of version 3.0 and of the pages": [
        Call("GET", "/ajax-api/2.0/mlflow/experiments/get", query=[("experiment_id", "0")]),
        Call("GET", "/api/3.0/mlflow/experiments/get", query=[("experiment_id", "0")]),
    ],
}
