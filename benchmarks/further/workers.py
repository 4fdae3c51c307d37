"""More workers, on the same database and the same runs."""

from benchmarks import servers
from benchmarks.further.bench import Bench
from benchmarks.measure import Result
from benchmarks.runner import Comparison
from benchmarks.seeds import Seeds
from benchmarks.workloads import WORKLOADS

MEASURED = ("log-metric", "log-batch-10", "log-batch-1000", "create", "get", "search-newest")
WORKERS = (1, 2, 4)
CONNECTIONS = (16, 64)


def measure(bench: Bench) -> list[Result]:
    """Throughput by the number of workers; each run is logged to through all workers."""
    results = []
    postgres = bench.ours.server.postgres
    for workers in WORKERS:
        name = f"{servers.OURS}, {workers} workers"
        with servers.ours(postgres, bench.folder, workers=workers, name=name) as server:
            seeds = SameData(server, bench.ours)
            for workload in WORKLOADS:
                for connections in CONNECTIONS if workload.name in MEASURED else ():
                    # One after the other, as stored rows are counted in the shared database.
                    comparison = Comparison(workload)
                    comparison.add_server(
                        seeds,
                        connections=connections,
                        label=f"{workload.name}, {connections} conn.",
                    )
                    results += comparison.run(seconds=bench.seconds, rounds=bench.rounds)
    for result in results:
        result.goals = ()
    return results


class SameData(Seeds):
    """Seeds of a second server on the database of a first one, which created the data."""

    def __init__(self, server: servers.Server, first: Seeds) -> None:
        super().__init__(server)
        self.logged = first.logged
        self.created = first.created
        self.searched = first.searched
        self.wide_run = first.wide_run
