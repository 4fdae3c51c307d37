"""One worker compared with two, on the same database."""

from benchmarks import servers
from benchmarks.further.bench import Bench
from benchmarks.measure import Result
from benchmarks.runner import Comparison
from benchmarks.seeds import Seeds
from benchmarks.workloads import WORKLOADS

MEASURED = ("log-metric", "log-batch-10", "log-batch-1000", "create", "get", "search-newest")


def measure(bench: Bench) -> list[Result]:
    results = []
    name = f"{servers.OURS}, 2 workers"
    with servers.ours(bench.ours.server.postgres, bench.folder, workers=2, name=name) as server:
        # Both servers use the same database, so it is seeded once.
        both = [bench.ours, SameData(server, bench.ours)]
        for workload in WORKLOADS:
            if workload.name in MEASURED:
                for seeds in both:
                    # One after the other, because stored rows are counted in the shared database.
                    comparison = Comparison(workload)
                    comparison.add_server(seeds, label=f"{workload.name}, workers")
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
