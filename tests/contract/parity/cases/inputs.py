"""Datasets and models that go into runs, and models that come out."""

from typing import Any

from tests.contract.parity.cases.calls import (
    Case,
    create_experiment,
    create_run,
    get_run,
    post,
    raw,
)

NO_MODEL = "m-" + "0" * 32


def dataset(name: Any = "d", digest: Any = "g", **fields: Any) -> dict[str, Any]:
    fields = {"source_type": "local", "source": "s"} | fields
    return {"name": name, "digest": digest, **fields}


def log_inputs(*datasets: Any, run: str = "$run", **fields: Any) -> Any:
    inputs = [{"dataset": one} for one in datasets]
    return post("runs/log-inputs", **({"run_id": run, "datasets": inputs} | fields))


def tagged(one: Any, **values: Any) -> dict[str, Any]:
    return {"dataset": one, "tags": [{"key": key, "value": v} for key, v in values.items()]}


def create_model(name: str = "model") -> Any:
    return post("logged-models", experiment_id="0", name=name).keeping(model="model.info.model_id")


CASES: dict[str, Case] = {
    "a dataset goes into a run": [
        create_run(),
        log_inputs(dataset(schema='{"a": 1}', profile='{"rows": 2}')),
        get_run(),
    ],
    "a dataset without a schema": [
        create_run(),
        log_inputs(dataset(), dataset("e", schema="", profile="")),
        get_run(),
    ],
    "a dataset with tags": [
        create_run(),
        log_inputs(datasets=[tagged(dataset(), **{"mlflow.data.context": "train", "k": "v"})]),
        get_run(),
    ],
    "a dataset twice": [
        create_run(),
        log_inputs(dataset(), dataset()),
        log_inputs(dataset()),
        log_inputs(dataset(digest="other")),
        get_run(),
    ],
    "a dataset again with other tags": [
        create_run(),
        log_inputs(datasets=[tagged(dataset(), k="1")]),
        log_inputs(datasets=[tagged(dataset(), k="2", j="3")]),
        get_run(),
    ],
    "a dataset again with another source": [
        create_run(),
        log_inputs(dataset()),
        log_inputs(dataset(source="other", schema="x")),
        get_run(),
    ],
    "a dataset in two runs": [
        create_run(keep="one"),
        create_run(keep="two"),
        log_inputs(dataset(), run="$one"),
        log_inputs(dataset(source="other"), run="$two"),
        get_run("$one"),
        get_run("$two"),
    ],
    "parts of a dataset are required": [
        create_run(),
        *(
            log_inputs({key: value for key, value in dataset().items() if key != absent})
            for absent in ("name", "digest", "source_type", "source")
        ),
        log_inputs(datasets=[{}]),
        log_inputs(datasets=[{"tags": []}]),
        log_inputs(dataset(name="")),
        log_inputs(dataset(digest="")),
        log_inputs(dataset(source="")),
    ],
    "limits of a dataset": [
        create_run(),
        log_inputs(dataset("n" * 500, "d" * 36)),
        log_inputs(dataset("n" * 501)),
        log_inputs(dataset(digest="d" * 37)),
        log_inputs(datasets=[tagged(dataset(), **{"k" * 256: "v"})]),
        log_inputs(datasets=[tagged(dataset(), k="v" * 501)]),
    ],
    "types of inputs": [
        create_run(),
        log_inputs(datasets="d"),
        log_inputs(datasets=["d"]),
        log_inputs(datasets={"dataset": {}}),
        log_inputs(dataset(name=7)),
        log_inputs(),
        post("runs/log-inputs", run_id="$run"),
        post("runs/log-inputs", run_id="$run", datasets=None),
    ],
    "inputs need a run": [
        post("runs/log-inputs"),
        post("runs/log-inputs", run_id=""),
        log_inputs(dataset(), run="0" * 32),
        create_run(),
        post("runs/delete", run_id="$run"),
        log_inputs(dataset()),
    ],
    "a model goes into a run": [
        create_run(),
        create_model(),
        post("runs/log-inputs", run_id="$run", models=[{"model_id": "$model"}]),
        post("runs/log-inputs", run_id="$run", models=[{"model_id": "$model"}]),
        get_run(),
    ],
    "a model comes out of a run": [
        create_run(),
        create_model(),
        post("runs/outputs", run_id="$run", models=[{"model_id": "$model", "step": 3}]),
        get_run(),
    ],
    "outputs need a run": [
        post("runs/outputs", models=[]),
        post("runs/outputs", run_id="0" * 32, models=[{"model_id": NO_MODEL, "step": 0}]),
        create_run(),
        post("runs/outputs", run_id="$run"),
    ],
    "datasets of experiments": [
        create_experiment("a"),
        create_run(experiment_id="$experiment"),
        log_inputs(
            datasets=[
                tagged(dataset(), **{"mlflow.data.context": "train"}),
                {"dataset": dataset("e")},
            ]
        ),
        post("/ajax-api/2.0/mlflow/experiments/search-datasets", experiment_ids=["$experiment"]),
        post("/ajax-api/2.0/mlflow/experiments/search-datasets", experiment_ids=["0"]),
        post(
            "/ajax-api/2.0/mlflow/experiments/search-datasets", experiment_ids=["$experiment", "0"]
        ),
        post(
            "/ajax-api/2.0/mlflow/experiments/search-datasets",
            experiment_ids=["123456789012345678"],
        ),
    ],
    "datasets of too few and too many experiments": [
        post("/ajax-api/2.0/mlflow/experiments/search-datasets"),
        post("/ajax-api/2.0/mlflow/experiments/search-datasets", experiment_ids=[]),
        post("/ajax-api/2.0/mlflow/experiments/search-datasets", experiment_ids=["0"] * 21),
        raw("POST", "/ajax-api/2.0/mlflow/experiments/search-datasets", ""),
    ],
}
