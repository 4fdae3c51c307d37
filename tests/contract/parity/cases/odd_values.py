"""Every field of every message that writes or searches, with values that hardly anybody sends."""

from typing import Any

from tests.contract.parity.cases.calls import (
    Call,
    Case,
    create_experiment,
    create_run,
    get,
    get_experiment,
    get_run,
    patch,
    post,
)
from tests.contract.parity.cases.registry import MODELS, SOURCE, VERSIONS, create_model, get_model

ODD: tuple[Any, ...] = (
    *("", " ", "0", "-1", "1e3", "null", "\n", "ä", "x" * 300, "x" * 10_000),
    *(0, -1, 1.5, 1e3, 2**31, 2**63 - 1, 2**63, -(2**63), True),
    *([], ["a"], [[]], [{}], {}, {"a": 1}),
)

RUN = {"run_id": "$run"}
MODEL = post("logged-models", experiment_id="0", name="model").keeping(model="model.info.model_id")
GET_MODEL = get("logged-models/$model")
POINT = {"key": "m", "value": 1, "timestamp": 1, "step": 1}
DATASET = {"name": "d", "digest": "1", "source_type": "local", "source": "s"}
PAIR = {"key": "k", "value": "v"}


def cases(name: str, before: Case, call: Call, *after: Call, fields: str = "") -> dict[str, Case]:
    """A case for each field of the call's message: with each odd value, the call and what is read
    after it. A field that is not in the message is named in `fields`."""
    message = call.body
    return {
        f"{name}, {field}": [
            *before,
            *(
                step
                for odd in ODD
                for step in (Call(call.method, call.path, message | {field: odd}), *after)
            ),
        ]
        for field in (*message, *fields.split())
    }


def parts(name: str, before: Case, call: Call, place: str, *after: Call) -> dict[str, Case]:
    """As `cases`, for the fields of the first message in the list `place`."""
    (part,) = call.body[place]
    return {
        f"{name}, {place}.{field}": [
            *before,
            *(
                step
                for odd in ODD
                for step in (
                    Call(call.method, call.path, call.body | {place: [part | {field: odd}]}),
                    *after,
                )
            ),
        ]
        for field in part
    }


BATCH = post("runs/log-batch", **RUN, metrics=[POINT], params=[PAIR], tags=[PAIR])
INPUTS = post("runs/log-inputs", **RUN, datasets=[{"dataset": DATASET, "tags": [PAIR]}])
NEW_RUN = post("runs/create", experiment_id="0", run_name="r", user_id="u", start_time=1)
NEW_MODEL = post(
    "logged-models",
    experiment_id="0",
    name="m",
    model_type="t",
    source_run_id="",
    params=[PAIR],
    tags=[PAIR],
)

CASES: dict[str, Case] = {
    **cases(
        "a new experiment",
        [],
        post("experiments/create", name="e"),
        fields="artifact_location tags",
    ),
    **parts("a new experiment", [], post("experiments/create", name="e", tags=[PAIR]), "tags"),
    **cases(
        "an experiment's name",
        [create_experiment("e")],
        post("experiments/update", experiment_id="$experiment", new_name="n"),
        get_experiment(),
    ),
    **cases(
        "an experiment's tag",
        [create_experiment("e")],
        post("experiments/set-experiment-tag", experiment_id="$experiment", **PAIR),
        get_experiment(),
    ),
    **cases(
        "a search of experiments",
        [],
        post("experiments/search", max_results=5),
        fields="filter order_by view_type page_token",
    ),
    **cases("a new run", [], NEW_RUN, fields="tags"),
    **parts("a new run", [], post("runs/create", experiment_id="0", tags=[PAIR]), "tags"),
    **cases(
        "a run's end",
        [create_run()],
        post("runs/update", **RUN, status="FINISHED", end_time=5, run_name="r"),
        get_run(),
    ),
    **cases("a metric", [create_run()], post("runs/log-metric", **RUN, **POINT), get_run()),
    **cases(
        "a metric of a dataset",
        [create_run()],
        post("runs/log-metric", **RUN, **POINT, dataset_name="d", dataset_digest="1"),
        get_run(),
    ),
    **cases("a param", [create_run()], post("runs/log-parameter", **RUN, **PAIR), get_run()),
    **cases("a tag", [create_run()], post("runs/set-tag", **RUN, **PAIR), get_run()),
    **cases("a tag's deletion", [create_run()], post("runs/delete-tag", **RUN, key="k")),
    **cases("a batch", [create_run()], BATCH, get_run()),
    **parts("a batch", [create_run()], BATCH, "metrics", get_run()),
    **parts("a batch", [create_run()], BATCH, "params", get_run()),
    **parts("a batch", [create_run()], BATCH, "tags", get_run()),
    **cases("inputs", [create_run()], INPUTS, fields="models"),
    **parts("inputs", [create_run()], INPUTS, "datasets", get_run()),
    **{
        f"inputs, dataset.{field}": [
            create_run(),
            *(
                post("runs/log-inputs", **RUN, datasets=[{"dataset": DATASET | {field: odd}}])
                for odd in ODD
            ),
            get_run(),
        ]
        for field in (*DATASET, "schema", "profile")
    },
    **cases(
        "a search of runs",
        [create_run()],
        post("runs/search", experiment_ids=["0"], max_results=5),
        fields="filter run_view_type order_by page_token",
    ),
    **cases("a new logged model", [], NEW_MODEL),
    **parts("a new logged model", [], NEW_MODEL, "params"),
    **parts("a new logged model", [], NEW_MODEL, "tags"),
    **cases(
        "a logged model's status",
        [MODEL],
        patch("logged-models/$model", model_id="$model", status=2),
        GET_MODEL,
    ),
    **cases(
        "a logged model's tags",
        [MODEL],
        patch("logged-models/$model/tags", tags=[PAIR]),
        GET_MODEL,
    ),
    **parts(
        "a logged model's tags",
        [MODEL],
        patch("logged-models/$model/tags", tags=[PAIR]),
        "tags",
        GET_MODEL,
    ),
    **cases(
        "a search of logged models",
        [MODEL],
        post("logged-models/search", experiment_ids=["0"], max_results=5),
        fields="filter order_by page_token datasets",
    ),
    **cases("a new registered model", [], post(f"{MODELS}/create", name="m", description="d")),
    **parts("a new registered model", [], post(f"{MODELS}/create", name="m", tags=[PAIR]), "tags"),
    **cases(
        "a registered model's description",
        [create_model()],
        patch(f"{MODELS}/update", name="m", description="d"),
        get_model(),
    ),
    **cases(
        "a registered model's tag",
        [create_model()],
        post(f"{MODELS}/set-tag", name="m", **PAIR),
        get_model(),
    ),
    **cases(
        "a new version",
        [create_model()],
        post(f"{VERSIONS}/create", name="m", source=SOURCE, description="d"),
        fields="run_id run_link model_id tags",
    ),
    **cases(
        "a version's description",
        [create_model(), post(f"{VERSIONS}/create", name="m", source=SOURCE)],
        patch(f"{VERSIONS}/update", name="m", version="1", description="d"),
        get(f"{VERSIONS}/get", name="m", version="1"),
    ),
    **cases(
        "a version's stage",
        [create_model(), post(f"{VERSIONS}/create", name="m", source=SOURCE)],
        post(
            f"{VERSIONS}/transition-stage",
            name="m",
            version="1",
            stage="Staging",
            archive_existing_versions=False,
        ),
    ),
    **cases(
        "a version's tag",
        [create_model(), post(f"{VERSIONS}/create", name="m", source=SOURCE)],
        post(f"{VERSIONS}/set-tag", name="m", version="1", **PAIR),
    ),
    **cases(
        "an alias",
        [create_model(), post(f"{VERSIONS}/create", name="m", source=SOURCE)],
        post(f"{MODELS}/alias", name="m", alias="a", version="1"),
        get_model(),
    ),
}
