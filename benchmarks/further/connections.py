"""How throughput and latency move with the number of connections."""

from benchmarks.further.bench import Bench
from benchmarks.measure import Result
from benchmarks.runner import Race
from benchmarks.workloads import WORKLOADS

MEASURED = ("log-metric", "log-batch-10", "search-newest")
CONNECTIONS = (1, 4, 16, 64)


def measure(bench: Bench) -> list[Result]:
    results = []
    for workload in WORKLOADS:
        if workload.name not in MEASURED:
            continue
        for connections in CONNECTIONS:
            race = Race(workload)
            for seeds in bench.servers:
                race.enter(
                    seeds, connections=connections, label=f"{workload.name}, {connections} conn."
                )
            results += race.run(seconds=bench.seconds, rounds=bench.rounds)
    for result in results:
        result.goals = ()  # they are for the numbers of connections of the default set
    return results
