"""Batches of 1,000 points, before and after ten million other points are in the table."""

from benchmarks.further.bench import Bench
from benchmarks.measure import Goal, Result
from benchmarks.runner import Comparison
from benchmarks.seeds import START, Seeds
from benchmarks.workloads import WORKLOADS

SERIES = 100
POINTS = 100_000  # of each series

# Interleaved, as concurrent runs log them.
FILL = """
INSERT INTO metric_points (tenant_id, series_id, timestamp, step, value)
SELECT %(tenant)s, %(first)s + series, %(start)s + step, step, 1.0 / (step + 1)
FROM generate_series(0, %(points)s - 1) AS step, generate_series(1, %(series)s) AS series
"""
# Beyond the ids that the service assigns.
FIRST_SERIES = 2 * 10**9


def measure(bench: Bench) -> list[Result]:
    total = f"{SERIES * POINTS:,}"
    first = _batches(bench, "log-batch-1000 at the start")
    fill(bench.ours)
    later = _batches(bench, f"log-batch-1000 after {total} points")
    slower = first.figure / later.figure
    goals = (Goal(None, 1.25),)
    name = f"time of a batch, growth over {total} points"
    return [first, later, Result(name, later.server, "×", [slower], goals=goals)]


def _batches(bench: Bench, label: str) -> Result:
    (workload,) = [workload for workload in WORKLOADS if workload.name == "log-batch-1000"]
    comparison = Comparison(workload)
    comparison.add_server(bench.ours, label=label)
    (result,) = comparison.run(seconds=bench.seconds, rounds=bench.rounds)
    result.goals = ()
    return result


def fill(data: Seeds) -> None:
    """Inserts the points into the database directly; the API would take minutes."""
    server = data.server
    tenant = server.count(
        "SELECT tenant_id FROM experiments WHERE experiment_id = %s", [int(data.logged)]
    )
    with server.postgres.connect(server.database) as connection:
        connection.execute(
            FILL,
            {
                "tenant": tenant,
                "first": FIRST_SERIES,
                "start": START,
                "points": POINTS,
                "series": SERIES,
            },
        )
    server.postgres.vacuum(server.database)
