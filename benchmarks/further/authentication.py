"""The cost of API keys: throughput with TRACKING_AUTH=keys, compared with off."""

from dataclasses import replace

from benchmarks import servers
from benchmarks.further.bench import Bench
from benchmarks.further.workers import SameData
from benchmarks.measure import Goal, Result
from benchmarks.runner import Comparison
from benchmarks.workloads import WORKLOADS

MEASURED = ("log-metric", "get")
ADMIN = "k" * 32
AT_MOST = 5  # percent of the throughput


def measure(bench: Bench) -> list[Result]:
    results = []
    name = f"{servers.OURS}, keys"
    postgres = bench.ours.server.postgres
    settings = {"TRACKING_AUTH": "keys", "TRACKING_ADMIN_KEY": ADMIN}
    with servers.ours(postgres, bench.folder, name=name, settings=settings) as server:
        bench.ours.new_run()  # so that the tenant exists
        header = f"Bearer {new_key(server, servers.TENANT, 'write')}"
        server.client.headers["Authorization"] = header
        both = (bench.ours, SameData(server, bench.ours))
        for workload in WORKLOADS:
            if workload.name not in MEASURED:
                continue
            comparison = Comparison(workload)
            for seeds in both:
                comparison.add_server(seeds, label=f"{workload.name}, authentication")
            off, keys = comparison.participants
            # Stored rows cannot be counted: both servers write to the same database.
            off.prepared = replace(off.prepared, stored=None)
            requests = [
                replace(request, authorization=header) for request in keys.prepared.requests
            ]
            keys.prepared = replace(keys.prepared, requests=requests, stored=None)
            comparison.run(seconds=bench.seconds, rounds=bench.rounds)
            off.result.goals = keys.result.goals = ()
            results += [off.result, keys.result, _cost(off.result, keys.result)]
    return results


def new_key(server: servers.Server, tenant: str, role: str) -> str:
    """Creates a key on a server whose admin key is ADMIN; returns its text."""
    answer = server.client.post(
        f"/api/v1/admin/tenants/{tenant}/keys",
        json={"role": role},
        headers={"Authorization": f"Bearer {ADMIN}"},
    )
    answer.raise_for_status()
    return str(answer.json()["key"])


def _cost(off: Result, keys: Result) -> Result:
    """The share of the throughput that keys cost, in percent, per round."""
    shares = [(1 - b / a) * 100 for a, b in zip(off.figures, keys.figures, strict=True)]
    label = f"{off.workload}: cost of keys"
    return Result(label, servers.OURS, "%", shares, goals=(Goal(None, AT_MOST),))
