"""Routes of the workbench API, compared with the equivalent MLflow routes of our server."""

import json
from collections.abc import Callable

from benchmarks import seeds
from benchmarks.further.bench import Bench
from benchmarks.measure import Prepared, Result
from benchmarks.runner import Comparison
from benchmarks.seeds import Seeds
from benchmarks.workloads import Workload, create, get_run, log_batch_10, point, search_newest
from benchmarks.wrk import Request


def measure(bench: Bench) -> list[Result]:
    results = []
    for name, unit, connections, mlflow, workbench in EQUIVALENTS:
        for label, prepare in ((f"{name}, MLflow", mlflow), (f"{name}, workbench", workbench)):
            comparison = Comparison(Workload(label, unit, prepare, (), connections))
            comparison.add_server(bench.ours)
            results += comparison.run(seconds=bench.seconds, rounds=bench.rounds)
    return results


def _path(data: Seeds, route: str) -> str:
    return f"{data.server.prefix}/api/v1/experiments/runs{route}"


def _log_batch(data: Seeds) -> Prepared:
    metrics = ",".join(point(f"metric_{index}") for index in range(10))
    body = f'{{"metrics":[{metrics}]}}'
    paths = [_path(data, f"/{run_id}/log-batch") for run_id in data.sixteen_runs()]
    return Prepared(
        [Request("POST", path, body) for path in paths],
        units=10,
        stored=data.server.points,
        per_request=10,
    )


def _create(data: Seeds) -> Prepared:
    body = {"experiment_id": data.created, "tags": {"team": "data-science", "model": "xgboost"}}
    count = "SELECT count(*) FROM runs WHERE experiment_id = %s"
    return Prepared(
        [Request("POST", _path(data, ""), json.dumps(body))],
        stored=lambda: data.server.count(count, [int(data.created)]),
    )


def _get(data: Seeds) -> Prepared:
    return Prepared([Request("GET", _path(data, f"/{data.wide_run}"))])


def _list(data: Seeds) -> Prepared:
    return Prepared([Request("GET", _path(data, f"?experiment_id={data.searched}&limit=100"))])


def _mlflow_sample(data: Seeds) -> Prepared:
    query = f"run_ids={data.series_run}&metric_key={seeds.SERIES_KEY}&max_results=320"
    path = data.server.path("metrics/get-history-bulk-interval")
    return Prepared([Request("GET", f"{path}?{query}")])


def _sample(data: Seeds) -> Prepared:
    route = f"/{data.series_run}/metrics/{seeds.SERIES_KEY}?max_points=320"
    return Prepared([Request("GET", _path(data, route))])


Prepare = Callable[[Seeds], Prepared]
EQUIVALENTS: list[tuple[str, str, int, Prepare, Prepare]] = [
    ("batch of 10", "points/s", 16, log_batch_10, _log_batch),
    ("create a run", "requests/s", 16, create, _create),
    ("get a run", "requests/s", 16, get_run, _get),
    ("newest 100 runs", "requests/s", 4, search_newest, _list),
    ("sample of a series", "requests/s", 4, _mlflow_sample, _sample),
]
