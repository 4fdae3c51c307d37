"""The workloads that all servers are measured with, and our goals."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from benchmarks import seeds
from benchmarks.measure import Goal, Prepared
from benchmarks.seeds import Seeds
from benchmarks.servers import Server
from benchmarks.wrk import NUMBER, Request

FASTTRACKML = "fasttrackml"
COPY = "COPY"
COMMITS = "bare commits"

POINTS_A_PAGE = 25_000
SAMPLED_POINTS = 320


@dataclass(frozen=True)
class Workload:
    """A kind of request, and how to prepare it for a server.

    `prepare` returns None for a server without the route, and raises WrongAnswerError if the server
    answers wrongly. A round lasts `stretch` times as long as usual, for workloads of long requests.
    """

    name: str
    unit: str
    prepare: Callable[[Seeds], Prepared | None]
    goals: tuple[Goal, ...]
    connections: int = 16
    stretch: int = 1


class WrongAnswerError(Exception):
    """An answer does not match the seeded data."""


def expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise WrongAnswerError(f"{what}: {str(found)[:200]} instead of {str(wanted)[:200]}")


def posts(server: Server, route: str, bodies: Sequence[str]) -> list[Request]:
    return [Request("POST", server.path(route), body) for body in bodies]


def point(key: str, place: str = "") -> str:
    """A metric point, as JSON, that no other request sends.

    `place`, two digits, distinguishes the points of one request. The step is the request's number
    followed by `place`; the timestamp has 13 digits, like a current one.
    """
    digits = f"{NUMBER}{place}"
    timestamp = f"17{digits}".ljust(13, "0")
    return f'{{"key":"{key}","value":0.{digits},"timestamp":{timestamp},"step":{digits}}}'


def log_metric(data: Seeds) -> Prepared:
    body = point(seeds.SERIES_KEY).removeprefix("{")
    bodies = [f'{{"run_id":"{run_id}",{body}' for run_id in data.sixteen_runs()]
    return Prepared(posts(data.server, "runs/log-metric", bodies), stored=data.server.points)


def log_batch(data: Seeds, points: Sequence[str]) -> Prepared:
    metrics = ",".join(points)
    bodies = [f'{{"run_id":"{run_id}","metrics":[{metrics}]}}' for run_id in data.sixteen_runs()]
    return Prepared(
        posts(data.server, "runs/log-batch", bodies),
        units=len(points),
        stored=data.server.points,
        per_request=len(points),
    )


def log_batch_10(data: Seeds) -> Prepared:
    """Ten metrics at one step, as logged at the end of an epoch."""
    return log_batch(data, [point(f"metric_{index}") for index in range(10)])


def log_batch_1000(data: Seeds) -> Prepared:
    """A hundred steps of ten metrics, as MLflow's client sends with asynchronous logging."""
    keys, steps = range(10), range(100)
    return log_batch(data, [point(f"metric_{k}", f"{s:02}") for s in steps for k in keys])


def create(data: Seeds) -> Prepared:
    experiment = data.created
    body = (
        f'{{"experiment_id":"{experiment}","start_time":17{NUMBER}0000,'
        '"tags":[{"key":"team","value":"data-science"},{"key":"model","value":"xgboost"}]}'
    )
    count = "SELECT count(*) FROM runs WHERE experiment_id = %s"
    return Prepared(
        posts(data.server, "runs/create", [body]),
        stored=lambda: data.server.count(count, [int(experiment)]),
    )


def set_tag(data: Seeds) -> Prepared:
    runs = data.sixteen_runs()
    bodies = [f'{{"run_id":"{run_id}","key":"status","value":"{NUMBER}"}}' for run_id in runs]
    return Prepared(posts(data.server, "runs/set-tag", bodies))


def get_run(data: Seeds) -> Prepared:
    run_id = data.wide_run
    run = data.server.get("runs/get", run_id=run_id)["run"]["data"]
    expect("params of the run", len(run["params"]), seeds.WIDE)
    values = {metric["key"]: metric["value"] for metric in run["metrics"]}
    expect("metrics", values, {f"metric_{index}": index / 7 for index in range(seeds.WIDE)})
    return Prepared([Request("GET", f"{data.server.path('runs/get')}?run_id={run_id}")])


def search(data: Seeds, body: dict[str, Any], names: list[str]) -> Prepared:
    """A search of the 2,000 runs that should find the runs with these names, in this order."""
    body |= {"experiment_ids": [data.searched], "max_results": len(names)}
    check_search(data.server.post("runs/search", body), names)
    return Prepared(posts(data.server, "runs/search", [json.dumps(body)]))


def check_search(answer: dict[str, Any], names: list[str]) -> None:
    found = [run["info"].get("run_name") for run in answer["runs"]]
    expect("runs found", found, names)
    for run in answer["runs"]:
        expect("params of a run found", len(run["data"]["params"]), seeds.ITEMS)
        expect("metrics of a run found", len(run["data"]["metrics"]), seeds.ITEMS)


def search_newest(data: Seeds) -> Prepared:
    return search(data, {}, seeds.newest(seeds.RUNS, 100))


def search_filtered(data: Seeds) -> Prepared:
    names = seeds.filtered(seeds.RUNS, 50)
    return search(data, {"filter": seeds.FILTER, "order_by": [seeds.ORDER]}, names)


def history(data: Seeds) -> Prepared:
    """All pages of the series, by the server's own page tokens."""
    query: dict[str, Any] = {"run_id": data.series_run, "metric_key": seeds.SERIES_KEY}
    query["max_results"] = POINTS_A_PAGE
    requests, steps = [], []
    path = data.server.path("metrics/get-history")
    while True:
        answer = data.server.get("metrics/get-history", **query)
        requests.append(Request("GET", f"{path}?{urlencode(query)}"))
        steps += [int(found.get("step", 0)) for found in answer["metrics"]]
        if not answer.get("next_page_token"):
            break
        query["page_token"] = answer["next_page_token"]
    expect("steps of the history", sorted(steps), list(range(seeds.SERIES_POINTS)))
    return Prepared(requests, units=len(steps) / len(requests))


def interval(data: Seeds) -> Prepared | None:
    if data.server.kind == FASTTRACKML:
        return None
    query = {"run_ids": data.series_run, "metric_key": seeds.SERIES_KEY}
    query["max_results"] = str(SAMPLED_POINTS)
    route = "metrics/get-history-bulk-interval"
    found = [metric["step"] for metric in data.server.get(route, **query)["metrics"]]
    expect("last step of the sample", found[-1], seeds.SERIES_POINTS - 1)
    # MLflow returns a point more or less than requested.
    expect("points of the sample", abs(len(found) - SAMPLED_POINTS) <= 2, True)
    return Prepared([Request("GET", f"{data.server.path(route)}?{urlencode(query)}")])


_CROWD = [
    Workload("log-metric", "requests/s", log_metric, (Goal(FASTTRACKML, 5),)),
    Workload("log-batch-10", "points/s", log_batch_10, (Goal(FASTTRACKML, 6),)),
    Workload(
        "log-batch-1000", "points/s", log_batch_1000, (Goal(FASTTRACKML, 3.5), Goal(COPY, 0.5))
    ),
    Workload("create", "requests/s", create, (Goal(FASTTRACKML, 2),)),
    Workload("set-tag", "requests/s", set_tag, (Goal(FASTTRACKML, 1.5),)),
    Workload("get", "requests/s", get_run, (Goal(FASTTRACKML, 1.5),)),
    Workload("search-newest", "requests/s", search_newest, (Goal(FASTTRACKML, 5),), connections=4),
    Workload(
        "search-filtered", "requests/s", search_filtered, (Goal(FASTTRACKML, 5),), connections=4
    ),
    Workload("history", "points/s", history, (Goal(FASTTRACKML, 6),), connections=2, stretch=2),
    Workload("interval", "requests/s", interval, (Goal("mlflow", 10),), connections=4),
]

# Training is one client that sends one request after another.
_ONE_CONNECTION_GOALS = {
    "log-metric": (Goal(FASTTRACKML, 3), Goal(COMMITS, 0.4)),
    "log-batch-10": (Goal(FASTTRACKML, 3),),
    "log-batch-1000": (Goal(FASTTRACKML, 5),),
    "create": (Goal(FASTTRACKML, 1.8),),
    "set-tag": (Goal(FASTTRACKML, 1.5),),
    "get": (Goal(FASTTRACKML, 2),),
}

WORKLOADS = _CROWD + [
    replace(
        workload,
        name=f"one-{workload.name}",
        connections=1,
        goals=_ONE_CONNECTION_GOALS[workload.name],
    )
    for workload in _CROWD
    if workload.name in _ONE_CONNECTION_GOALS
]
