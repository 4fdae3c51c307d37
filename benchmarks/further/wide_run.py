"""A run with 10,000 params, tags and metrics in all: read by id, and found by a search."""

from benchmarks.further.bench import Bench, timed
from benchmarks.measure import Result
from benchmarks.seeds import START, Seeds, pairs

# The maximum number of params of a run, and nearly that of tags.
PARAMS, TAGS, METRICS = 5_000, 900, 4_100
BATCH_ITEMS = 100  # items in a batch
CALLS = 20


def measure(bench: Bench) -> list[Result]:
    return [result for seeds in bench.servers for result in _of_server(seeds)]


def _of_server(seeds: Seeds) -> list[Result]:
    server = seeds.server
    experiment = seeds.experiment("wide")
    run_id = seeds.create_run({"experiment_id": experiment, "start_time": START})
    for kind, count in (("params", PARAMS), ("tags", TAGS)):
        for first in range(0, count, BATCH_ITEMS):
            some = {f"{kind}_{number}": "value" for number in range(first, first + BATCH_ITEMS)}
            server.post("runs/log-batch", {"run_id": run_id, kind: pairs(some)})
    for first in range(0, METRICS, BATCH_ITEMS):
        metrics = [
            {"key": f"metric_{number}", "value": 1.0, "timestamp": START, "step": 0}
            for number in range(first, first + BATCH_ITEMS)
        ]
        server.post("runs/log-batch", {"run_id": run_id, "metrics": metrics})
    body = {"experiment_ids": [experiment]}
    read = timed(
        "get, 10,000 items", server.name, [lambda: server.get("runs/get", run_id=run_id)] * CALLS
    )
    found = timed(
        "search, 10,000 items", server.name, [lambda: server.post("runs/search", body)] * CALLS
    )
    data = server.get("runs/get", run_id=run_id)["run"]["data"]
    own_tags = [tag for tag in data["tags"] if tag["key"].startswith("tags_")]
    stored = len(data["params"]), len(own_tags), len(data["metrics"])
    if stored != (PARAMS, TAGS, METRICS):
        read.problems.append("it has {} params, {} tags and {} metrics".format(*stored))
    return [read, found]
