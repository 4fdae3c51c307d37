"""Throughput and latency by the number of connections."""

from benchmarks.further.bench import Bench
from benchmarks.measure import Result
from benchmarks.runner import Comparison
from benchmarks.workloads import WORKLOADS

MEASURED = ("log-metric", "log-batch-10", "search-newest")
CONNECTIONS = (1, 4, 16, 64)


def measure(bench: Bench) -> list[Result]:
    results = []
    for workload in WORKLOADS:
        if workload.name not in MEASURED:
            continue
        for connections in CONNECTIONS:
            comparison = Comparison(workload)
            for seeds in bench.servers:
                comparison.add_server(
                    seeds, connections=connections, label=f"{workload.name}, {connections} conn."
                )
            results += comparison.run(seconds=bench.seconds, rounds=bench.rounds)
    for result in results:
        result.goals = ()  # goals are for the default number of connections
    return results
