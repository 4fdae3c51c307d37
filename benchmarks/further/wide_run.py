"""A run with 10,000 params and tags in all: read alone, and found among others."""

from benchmarks.further.bench import Bench, timed
from benchmarks.measure import Result
from benchmarks.seeds import START, Seeds, pairs

EACH = 5_000
AT_ONCE = 100  # of params, and of tags, in a batch
CALLS = 20


def measure(bench: Bench) -> list[Result]:
    return [result for seeds in bench.servers for result in _of_server(seeds)]


def _of_server(seeds: Seeds) -> list[Result]:
    server = seeds.server
    experiment = seeds.experiment("wide")
    run_id = seeds.create_run({"experiment_id": experiment, "start_time": START})
    for first in range(0, EACH, AT_ONCE):
        numbers = range(first, first + AT_ONCE)
        params = pairs({f"param_{number}": "value" for number in numbers})
        tags = pairs({f"tag_{number}": "value" for number in numbers})
        server.post("runs/log-batch", {"run_id": run_id, "params": params, "tags": tags})
    body = {"experiment_ids": [experiment]}
    read = timed(
        "get, 10,000 items", server.name, [lambda: server.get("runs/get", run_id=run_id)] * CALLS
    )
    found = timed(
        "search, 10,000 items", server.name, [lambda: server.post("runs/search", body)] * CALLS
    )
    data = server.get("runs/get", run_id=run_id)["run"]["data"]
    own_tags = [tag for tag in data["tags"] if tag["key"].startswith("tag_")]
    if len(data["params"]) != EACH or len(own_tags) != EACH:
        read.problems.append(f"{len(data['params'])} params and {len(own_tags)} tags")
    return [read, found]
