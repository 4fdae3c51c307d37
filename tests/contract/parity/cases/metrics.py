"""Metrics: the latest one, special numbers, histories and samples of them."""

from tests.contract.parity.cases.calls import (
    Case,
    create_run,
    get,
    get_run,
    history,
    log_batch,
    log_metric,
    metric,
    post,
)
from tests.contract.parity.cases.params_and_tags import KEYS


def latest(*points: object) -> Case:
    """Points logged one by one, then what is latest, and the history."""
    return [create_run(), *points, get_run(), history()]


# Only the pages call it.
BULK = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"


def bulk(**query: object) -> object:
    return get(BULK, **({"run_id": ["$run"], "metric_key": "m"} | query))


def interval(**query: object) -> object:
    query = {"run_ids": ["$run"], "metric_key": "m"} | query
    return get("metrics/get-history-bulk-interval", **query)


TEN = [create_run(), log_batch(metrics=[metric("m", n, 100 - n, n * 3) for n in range(10)])]
TWO_RUNS = [
    create_run(keep="one"),
    create_run(keep="two"),
    log_batch("$one", metrics=[metric("m", n, n, n) for n in range(25)]),
    log_batch("$two", metrics=[metric("m", n, n, n * 7) for n in range(40)]),
    log_batch("$two", metrics=[metric("other", 1)]),
]
NUMBERS = (0, -0.0, 1, -1.5, 1e300, -1e-300, 5e-324, 0.1, 123456789.123456789, 1e16, 12345678901234)

CASES: dict[str, Case] = {
    "a metric is logged": latest(log_metric("m", 1.5, 7, 3)),
    "a step is 0 unless given": [
        create_run(),
        post("runs/log-metric", run_id="$run", key="m", value=1, timestamp=1),
        log_batch(metrics=[{"key": "n", "value": 1, "timestamp": 1}]),
        get_run(),
        history(),
    ],
    "the greatest step is latest": latest(
        log_metric("m", 1, 5, 2), log_metric("m", 2, 9, 1), log_metric("m", 3, 1, 2)
    ),
    "the later time is latest, of equal steps": latest(
        log_metric("m", 5, 5, 1), log_metric("m", 1, 6, 1), log_metric("m", 9, 4, 1)
    ),
    "the greater value is latest, of equal steps and times": latest(
        log_metric("m", 1, 5, 1), log_metric("m", 3, 5, 1), log_metric("m", 2, 5, 1)
    ),
    "ties within one batch": [
        create_run(),
        log_batch(metrics=[metric("m", v, 5, 1) for v in (1, 3, 2)]),
        get_run(),
        log_batch(metrics=[metric("m", 2, 5, 1), metric("m", 9, 5, 0), metric("m", 4, 4, 1)]),
        get_run(),
        history(),
    ],
    "NaN is as 0 where it ties": latest(
        log_metric("m", "NaN", 5, 1), log_metric("m", -1, 5, 1), log_metric("m", 1, 5, 1)
    ),
    "NaN after a negative number": latest(log_metric("m", -1, 5, 1), log_metric("m", "NaN", 5, 1)),
    "NaN after 0": latest(log_metric("m", 0, 5, 1), log_metric("m", "NaN", 5, 1)),
    "0 after NaN": latest(log_metric("m", "NaN", 5, 1), log_metric("m", 0, 5, 1)),
    "infinities": latest(
        log_metric("m", "Infinity", 1, 1),
        log_metric("m", "-Infinity", 1, 2),
        log_metric("n", "Infinity"),
    ),
    "infinities in ties": latest(
        log_metric("m", "-Infinity", 1, 1),
        log_metric("m", 0, 1, 1),
        log_metric("m", "Infinity", 1, 1),
    ),
    "negative zero and zero are one point": latest(log_metric("m", -0.0), log_metric("m", 0.0)),
    "zero, then negative zero": latest(log_metric("m", 0.0), log_metric("m", -0.0)),
    "numbers come back as they were": [
        create_run(),
        *(log_metric(f"m{index}", value) for index, value in enumerate(NUMBERS)),
        get_run(),
    ],
    "numbers as strings": [
        create_run(),
        log_metric("m", "1.5", "7", "3"),
        log_metric("n", "1e3"),
        get_run(),
    ],
    "strings that are no numbers, or only nearly": [
        create_run(),
        *(log_metric("m", value) for value in ("one", "", " 1", "inf", "nan", "0x1")),
    ],
    "the same point again is one point": latest(
        log_metric("m", 1, 5, 1),
        log_metric("m", 1, 5, 1),
        log_batch(metrics=[metric("m", 1, 5, 1)] * 3),
        log_metric("m", 2, 5, 1),
    ),
    "the same NaN again": latest(log_metric("m", "NaN", 5, 1), log_metric("m", "NaN", 5, 1)),
    "negative steps": latest(log_metric("m", 1, 5, -3), log_metric("m", 2, 5, -1)),
    "the greatest steps and times": latest(
        log_metric("m", 1, 2**63 - 1, 2**63 - 1),
        log_metric("m", 1, 0, -(2**63)),
    ),
    "steps and times that are too great": [
        create_run(),
        log_metric("m", 1, 2**63, 0),
        log_metric("m", 1, 1, 2**63),
    ],
    "a negative time": latest(log_metric("m", 1, -5, 1)),
    "a negative time in a batch": [
        create_run(),
        log_batch(metrics=[metric("m", 1, 1), metric("m", 2, -5)]),
        get_run(),
    ],
    "parts of a metric are required": [
        create_run(),
        post("runs/log-metric", run_id="$run", value=1, timestamp=1),
        post("runs/log-metric", run_id="$run", key="m", timestamp=1),
        post("runs/log-metric", run_id="$run", key="m", value=1),
        log_metric("", 1),
        log_metric(None, 1),
        log_metric("m", None),
        log_metric("m", 1, None),
        log_metric("m", 1, 1, None),
        get_run(),
    ],
    "parts of a metric in a batch are required": [
        create_run(),
        log_batch(metrics=[{"value": 1, "timestamp": 1}]),
        log_batch(metrics=[{"key": "m", "timestamp": 1}]),
        log_batch(metrics=[{"key": "m", "value": 1}]),
        log_batch(metrics=[metric("m", 1), {"key": "", "value": 1, "timestamp": 1}]),
        log_batch(metrics=[metric("m", None)]),
        log_batch(metrics=[metric("m", 1, None)]),
        get_run(),
    ],
    "types of a metric": [
        create_run(),
        log_metric("m", "abc"),
        log_metric("m", True),
        log_metric("m", [1]),
        log_metric("m", 1, "soon"),
        log_metric("m", 1, 1.5),
        log_metric("m", 1, 2.0),
        log_metric("m", 1, 1, 1.5),
        log_metric("m", 1, 1, "x"),
        log_metric(7, 1),
        get_run(),
    ],
    "types of a metric in a batch": [
        create_run(),
        log_batch(metrics="m"),
        log_batch(metrics={"key": "m"}),
        log_batch(metrics=["m"]),
        log_batch(metrics=[metric("m", "abc")]),
        log_batch(metrics=[metric("m", "1.5", "2", "3")]),
        log_batch(metrics=[metric("m", 1, "soon")]),
        log_batch(metrics=[metric(7, 1)]),
        get_run(),
    ],
    "keys of metrics": [create_run(), *(log_metric(key, 1) for key in KEYS), get_run()],
    "keys of metrics in a batch": [
        create_run(),
        *(log_batch(metrics=[metric(key, 1)]) for key in KEYS),
        get_run(),
    ],
    "the longest key": [
        create_run(),
        log_metric("k" * 250, 1),
        log_metric("k" * 251, 1),
        log_batch(metrics=[metric("k" * 251, 1)]),
    ],
    "a model and a dataset that are not there": [
        create_run(),
        log_metric("m", 1, model_id="m-" + "0" * 32),
        log_metric("m", 1, dataset_name="d", dataset_digest="g"),
        log_metric("m", 2, dataset_name="d"),
        log_batch(metrics=[metric("m", 3, model_id="m-" + "0" * 32)]),
    ],
    "a history is in the order of time, then step, then value": [
        create_run(),
        log_batch(
            metrics=[
                metric("m", v, t, s)
                for v, t, s in ((5, 2, 1), (1, 3, 0), (4, 2, 1), (9, 1, 9), (2, 2, 0), (7, 1, 3))
            ]
        ),
        history(),
    ],
    "a history by page": [
        *TEN,
        history(max_results=4).keeping(token="next_page_token"),
        history(max_results=4, page_token="$token").keeping(token="next_page_token"),
        history(max_results=4, page_token="$token"),
        history(max_results=10),
        history(max_results=9),
        history(max_results=1_000_000),
    ],
    "a history's page size": [
        *TEN,
        history(max_results=0),
        history(max_results=-1),
        history(max_results="x"),
        history(max_results=""),
        history(max_results=1.5),
    ],
    "a forged page token": [*TEN, history(max_results=2, page_token="forged")],
    "a history of a metric that was never logged": [*TEN, history("none")],
    "a history of a run that is not there": [history(run="0" * 32), history(run="x")],
    "a history needs a run and a key": [
        *TEN,
        get("metrics/get-history", run_id="$run"),
        get("metrics/get-history", metric_key="m"),
        get("metrics/get-history", run_id="$run", metric_key=""),
        get("metrics/get-history"),
    ],
    "a history of a deleted run": [*TEN, post("runs/delete", run_id="$run"), history()],
    "histories of several runs": [
        *TWO_RUNS,
        bulk(run_id=["$one", "$two"]),
        bulk(run_id=["$two"]),
        bulk(run_id=["$two"], max_results=30),
        bulk(run_id=["$one", "0" * 32]),
        bulk(run_id="$two", metric_key="none"),
    ],
    "what histories of several runs need": [
        *TEN,
        get(BULK),
        get(BULK, run_id="$run"),
        get(BULK, metric_key="m"),
        bulk(run_id=["$run"] * 101),
        bulk(metric_key=""),
        bulk(max_results=0),
        bulk(max_results=3),
    ],
    "a page size of histories that is no number": [*TEN, bulk(max_results="x")],
    "a negative page size of histories": [*TEN, bulk(max_results=-2)],
    "samples of a history": [
        *TEN,
        *(interval(max_results=size) for size in (1, 2, 3, 4, 5, 9, 10, 11, 2500)),
        interval(),
    ],
    "samples of several runs are of the same steps": [
        *TWO_RUNS,
        *(interval(run_ids=["$one", "$two"], max_results=size) for size in (1, 2, 5, 7, 20, 30)),
        interval(run_ids=["$two", "$one"], max_results=5),
        interval(run_ids=["$one", "$one"], max_results=5),
    ],
    "samples between two steps": [
        *TWO_RUNS,
        interval(run_ids=["$one", "$two"], start_step=5, end_step=20),
        interval(run_ids=["$one", "$two"], start_step=5, end_step=20, max_results=3),
        interval(run_ids=["$two"], start_step=1, end_step=6),
        interval(run_ids=["$two"], start_step=7, end_step=7),
        interval(run_ids=["$two"], start_step=-5, end_step=1000, max_results=4),
    ],
    "samples where steps repeat": [
        create_run(),
        log_batch(metrics=[metric("m", n, n, n // 3) for n in range(30)]),
        interval(max_results=4),
        interval(max_results=4, start_step=2, end_step=8),
        interval(max_results=40),
    ],
    "what samples need": [
        *TEN,
        get("metrics/get-history-bulk-interval"),
        get("metrics/get-history-bulk-interval", run_ids="$run"),
        get("metrics/get-history-bulk-interval", metric_key="m"),
        interval(run_ids=["$run"] * 101),
        interval(metric_key=""),
        interval(metric_key="none"),
        interval(run_ids=["0" * 32]),
        interval(run_ids=["$run", "0" * 32]),
    ],
    "bounds of samples": [
        *TEN,
        interval(max_results=0),
        interval(max_results=-1),
        interval(max_results=2501),
        interval(max_results="x"),
        interval(start_step=1),
        interval(end_step=1),
        interval(start_step=5, end_step=1),
        interval(start_step="x", end_step=1),
    ],
}
