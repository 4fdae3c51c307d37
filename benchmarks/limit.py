"""Upper bounds for logging, measured in the same Postgres.

For many points it is COPY into a table like `metric_points`; for one client that sends one point
after another, an INSERT with its commit.
"""

import time

from benchmarks.measure import Result
from benchmarks.runner import Extra
from benchmarks.servers import Server
from benchmarks.workloads import COMMITS, COPY

POINTS = 200_000
TABLE = "copied_points"
COMMITTED = 2_000


def copy(server: Server, workload: str) -> Extra:
    """A COPY of points like those of log-batch-1000, into a table with the same indexes."""
    _create_table(server)
    rounds = iter(range(1, 1_000))
    result = Result(workload, COPY, "points/s")
    return Extra(result, lambda: _copy(server, next(rounds)))


def commits(server: Server, workload: str) -> Extra:
    """A prepared INSERT of one point with its durable commit, one after another."""
    _create_table(server)
    result = Result(workload, COMMITS, "requests/s")
    return Extra(result, lambda: _commit(server))


def _create_table(server: Server) -> None:
    fresh = f"DROP TABLE IF EXISTS {TABLE}; CREATE TABLE {TABLE} (LIKE metric_points INCLUDING ALL)"
    with server.postgres.connect(server.database) as connection:
        connection.execute(fresh)


def _commit(server: Server) -> float:
    """Commits per second."""
    statement = f"INSERT INTO {TABLE} VALUES (1, 1, %s, %s, 0.5)"
    with server.postgres.connect(server.database) as connection:
        started = time.perf_counter()
        for step in range(COMMITTED):
            connection.execute(statement, (step, 1_700_000_000_000 + step), prepare=True)
        return COMMITTED / (time.perf_counter() - started)


def _copy(server: Server, number: int) -> float:
    """Points per second; the rows are prepared before the measurement."""
    rows = _rows(number)
    statement = f"COPY {TABLE} (tenant_id, series_id, timestamp, step, value) FROM STDIN"
    with server.postgres.connect(server.database) as connection:
        started = time.perf_counter()
        with connection.cursor().copy(statement) as copying:
            for chunk in rows:
                copying.write(chunk)
        return POINTS / (time.perf_counter() - started)


def _rows(number: int) -> list[str]:
    """Chunks of 1,000 rows, each 100 steps of ten series; sixteen runs take turns."""
    chunks = []
    for batch in range(POINTS // 1_000):
        first_series = number * 1_000 + batch % 16 * 10
        steps = range(batch // 16 * 100, batch // 16 * 100 + 100)
        chunks.append(
            "".join(
                f"1\t{first_series + series}\t{1_700_000_000_000 + step}\t{step}\t0.{step}\n"
                for step in steps
                for series in range(10)
            )
        )
    return chunks
