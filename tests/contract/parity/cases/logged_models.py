"""Logged models: status, params, tags, metrics, search."""

from typing import Any

from tests.contract.parity.cases.artifacts import PROXY
from tests.contract.parity.cases.calls import (
    Call,
    Case,
    create_experiment,
    create_run,
    delete,
    get,
    get_run,
    log_batch,
    log_metric,
    metric,
    patch,
    post,
    tags,
)

ABSENT = "m-" + "0" * 32


def create_model(name: Any = "model", keep: str = "model", **fields: Any) -> Any:
    fields = {"experiment_id": "0", "name": name} | fields
    return post("logged-models", **fields).keeping(**{keep: "model.info.model_id"})


def get_model(model: str = "$model", **query: Any) -> Any:
    return get(f"logged-models/{model}", **query)


def finalize(status: Any, model: str = "$model") -> Any:
    return patch(f"logged-models/{model}", model_id=model, status=status)


def directories(path: str) -> Any:
    return get("logged-models/$model/artifacts/directories", artifact_directory_path=path)


def model_file(**query: str) -> Any:
    url = "/ajax-api/2.0/mlflow/logged-models/$model/artifacts/files"
    return Call("GET", url, query=list(query.items()))


def search(filter: str = "", **fields: Any) -> Any:
    return post("logged-models/search", **({"experiment_ids": ["0"], "filter": filter} | fields))


SOME: Case = [
    create_run(),
    create_model("a", keep="a", model_type="agent", params=tags(p="1"), tags=tags(t="x")),
    create_model("b", keep="b", source_run_id="$run", params=tags(p="2")),
    create_model("Ab", keep="c"),
    log_metric("m", 1, 1, 0, model_id="$a"),
    log_metric("m", 3, 1, 1, model_id="$b"),
    log_metric("m", 2, 2, 1, model_id="$c"),
    finalize("LOGGED_MODEL_READY", "$b"),
]

CASES: dict[str, Case] = {
    "a model is created, and is pending": [create_model(), get_model()],
    "a model of a run, with params and tags": [
        create_run(),
        create_model(
            source_run_id="$run", model_type="agent", params=tags(p="1"), tags=tags(t="x")
        ),
        get_model(),
        get_run(),
    ],
    "a model of an experiment": [
        create_experiment("a"),
        create_model(experiment_id="$experiment"),
        get_model(),
    ],
    "a model without a name": [
        post("logged-models", experiment_id="0", name="").keeping(model="model.info.model_id"),
    ],
    "two models may have one name": [create_model(), create_model()],
    "names that a model cannot have": [
        *(
            post("logged-models", experiment_id="0", name=name)
            for name in ("a/b", "a:b", "a.b", "a%b", 'a"b', "a'b")
        )
    ],
    "an experiment is required": [
        post("logged-models", name="a"),
        post("logged-models", name="a", experiment_id=""),
        post("logged-models", name="a", experiment_id="123456789012345678"),
    ],
    "every status": [
        create_model(),
        *(
            finalize(status)
            for status in ("LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED", 2, 3)
        ),
        get_model(),
        finalize("NONE"),
        finalize("LOGGED_MODEL_READY", ABSENT),
    ],
    "a status is required": [create_model(), patch("logged-models/$model", model_id="$model")],
    "a model's id is in its path": [
        create_model(),
        patch("logged-models/$model", status="LOGGED_MODEL_READY"),
    ],
    "a model that is not there": [
        get_model(ABSENT),
        delete(f"logged-models/{ABSENT}"),
        patch(f"logged-models/{ABSENT}/tags", tags=tags(k="v")),
        delete(f"logged-models/{ABSENT}/tags/k"),
        post(f"logged-models/{ABSENT}/params", model_id=ABSENT, params=tags(k="v")),
        get(f"logged-models/{ABSENT}/artifacts/directories"),
    ],
    "a model is deleted": [
        create_model(),
        delete("logged-models/$model"),
        get_model(),
        get_model(allow_deleted="true"),
        delete("logged-models/$model"),
        search(),
    ],
    "tags of a model": [
        create_model(),
        patch("logged-models/$model/tags", tags=tags(a="1", b="")),
        patch("logged-models/$model/tags", tags=tags(a="2")),
        get_model(),
        delete("logged-models/$model/tags/a"),
        get_model(),
        delete("logged-models/$model/tags/a"),
        patch("logged-models/$model/tags", tags=[]),
        patch("logged-models/$model/tags", tags=tags(**{"k" * 251: "v"})),
        patch("logged-models/$model/tags", tags=[{"value": "v"}]),
    ],
    "params of a model": [
        create_model(),
        post("logged-models/$model/params", model_id="$model", params=tags(a="1")),
        post("logged-models/$model/params", model_id="$model", params=tags(b="2")),
        get_model(),
        post("logged-models/$model/params", model_id="$model", params=tags(**{"k" * 251: "v"})),
    ],
    "a param that a model has": [
        create_model(params=tags(a="1")),
        post("logged-models/$model/params", model_id="$model", params=tags(a="1")),
        post("logged-models/$model/params", model_id="$model", params=tags(a="2")),
        get_model(),
    ],
    "metrics of a model": [
        create_run(),
        create_model(source_run_id="$run"),
        log_metric("m", 1, 5, 0, model_id="$model"),
        log_metric("m", 2, 6, 1, model_id="$model"),
        log_batch(metrics=[metric("n", 1, model_id="$model")]),
        get_run(),
        get_model(),
    ],
    "metrics of a model on a dataset": [
        create_run(),
        create_model(source_run_id="$run"),
        log_metric("m", 1, 5, 0, model_id="$model", dataset_name="d", dataset_digest="g"),
        get_model(),
    ],
    "models are found newest first": [*SOME, search()],
    "found by every kind of filter": [
        *SOME,
        *(
            search(filter)
            for filter in (
                "name = 'a'",
                "name LIKE 'A%'",
                "name ILIKE 'a%'",
                "model_type = 'agent'",
                "source_run_id = '$run'",
                "model_id = '$a'",
                "params.p = '1'",
                "tags.t = 'x'",
                "metrics.m > 1",
                "metrics.m >= 1 AND name = 'a'",
                "creation_timestamp > 0",
            )
        ),
    ],
    "searches of models that are refused": [
        search("name"),
        search("metrics.m = 'a'"),
        search("what.x = 1"),
        search("params.p > 'a'"),
        post("logged-models/search"),
        search(experiment_ids="0"),
        search(page_token="forged"),
        search(max_results=-1),
    ],
    "models in order": [
        *SOME,
        search(order_by=[{"field_name": "name"}]),
        search(order_by=[{"field_name": "name", "ascending": False}]),
        search(order_by=[{"field_name": "metrics.m"}]),
        search(order_by=[{"field_name": "metrics.m", "ascending": False}]),
        search(order_by=[{"field_name": "creation_timestamp", "ascending": True}]),
        search(order_by=[{"field_name": "what"}]),
        search(order_by=[{}]),
    ],
    "models by page": [
        *SOME,
        search(max_results=2).keeping(token="next_page_token"),
        search(max_results=2, page_token="$token"),
        search(max_results=3),
    ],
    "models by dataset": [
        create_run(),
        create_model("a", keep="a"),
        create_model("b", keep="b"),
        log_metric("m", 1, model_id="$a", dataset_name="d", dataset_digest="g"),
        log_metric("m", 2, model_id="$b", dataset_name="e", dataset_digest="g"),
        search(datasets=[{"dataset_name": "d"}]),
        search(datasets=[{"dataset_name": "d", "dataset_digest": "x"}]),
        search("metrics.m > 0", datasets=[{"dataset_name": "e", "dataset_digest": "g"}]),
        search(datasets=[{}]),
    ],
    "a model's files": [
        create_model().keeping(model="model.info.model_id", folder="model.info.artifact_uri"),
        Call("PUT", f"{PROXY}/$folder/MLmodel", content=b"x"),
        Call("PUT", f"{PROXY}/$folder/d/a.txt", content=b"xy"),
        *(directories(path) for path in ("", ".", "./d", "d/.", "d//", "../x", "none")),
        *(model_file(artifact_file_path=path) for path in ("MLmodel", "d/a.txt", "./d/a.txt")),
        *(model_file(artifact_file_path=path) for path in ("none", "d", "../x")),
        model_file(),
    ],
    "a model's empty folder": [create_model(), get("logged-models/$model/artifacts/directories")],
}
