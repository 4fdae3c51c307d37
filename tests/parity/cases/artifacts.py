"""Listing the artifacts of runs."""

from typing import Any

from .calls import Call, Case, create_run, get

PROXY = "/api/2.0/mlflow-artifacts/artifacts"


def list_artifacts(**query: Any) -> Call:
    return get("artifacts/list", **({"run_id": "$run"} | query))


CASES: dict[str, Case] = {
    "an empty run has no artifacts": [create_run(), list_artifacts(), list_artifacts(path="none")],
    "a listing needs a run": [
        get("artifacts/list"),
        get("artifacts/list", run_id=""),
        get("artifacts/list", run_id="0" * 32),
    ],
    "a listing of a deleted run": [
        create_run(),
        Call("POST", "runs/delete", {"run_id": "$run"}),
        list_artifacts(),
    ],
    "paths that leave their folder": [
        create_run(),
        *(
            list_artifacts(path=path)
            for path in ("..", "../x", "/etc", "a/../..", "%2e%2e", "a\\..")
        ),
        list_artifacts(path=""),
    ],
}
