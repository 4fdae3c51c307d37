"""A batch and its retry, after longer and longer histories of the same metric."""

from collections.abc import Callable

from benchmarks.further.bench import Bench, growth, timed
from benchmarks.measure import Result
from benchmarks.seeds import BATCH, Seeds, series_batch
from benchmarks.servers import OURS

HISTORIES = (0, 100_000, 1_000_000)
# Beyond this, a peer that scans the whole history on each retry would take minutes.
PEERS_LONGEST = 100_000
BATCHES = 10


def measure(bench: Bench) -> list[Result]:
    return [result for seeds in bench.servers for result in _of_server(seeds)]


def _of_server(seeds: Seeds) -> list[Result]:
    results: list[Result] = []
    run_id = seeds.new_run()
    logged = 0
    for history in HISTORIES:
        if seeds.server.kind != OURS and history > PEERS_LONGEST:
            break
        seeds.log_series(run_id, logged, history)
        starts = range(history, history + BATCHES * BATCH, BATCH)
        logged = starts.stop
        calls = [_send(seeds, run_id, start) for start in starts]
        after = f"after {history:,}"
        first = timed(f"batch of 1,000 {after}", seeds.server.name, calls)
        again = timed(f"its retry {after}", seeds.server.name, calls)
        _check(seeds, run_id, logged, again)
        results += [first, again]
    return [
        *results,
        growth("batch of 1,000, growth", results[0], results[-2], 1.25),
        growth("its retry, growth", results[1], results[-1], 1.25),
    ]


def _send(seeds: Seeds, run_id: str, start: int) -> Callable[[], object]:
    body = series_batch(run_id, range(start, start + BATCH))
    return lambda: seeds.server.post("runs/log-batch", body)


def _check(seeds: Seeds, run_id: str, logged: int, result: Result) -> None:
    answer = seeds.server.get("runs/get", run_id=run_id)
    last = int(answer["run"]["data"]["metrics"][0]["step"])
    if last != logged - 1:
        result.problems.append(f"the last step is {last} instead of {logged - 1}")
