"""Our searches among more and more runs, which are inserted into the database directly."""

from typing import Any

from benchmarks import seeds, workloads
from benchmarks.further.bench import Bench, growth, timed
from benchmarks.measure import Result
from benchmarks.seeds import SearchedRun, Seeds

TOTALS = (1_000, 10_000, 100_000)
CALLS = 30
CHUNK = 1_000

NEWEST = {"max_results": 100}
FILTERED = {"filter": seeds.FILTER, "order_by": [seeds.ORDER], "max_results": 50}


def measure(bench: Bench) -> list[Result]:
    data = bench.ours
    experiment = data.experiment("growing")
    newest, filtered = [], []
    for total, before in zip(TOTALS, (0, *TOTALS), strict=False):
        for first in range(before, total, CHUNK):
            insert(data, experiment, range(first, first + CHUNK))
        data.server.postgres.vacuum(data.server.database)
        newest.append(_search(data, experiment, NEWEST, f"search-newest of {total:,}", total))
        filtered.append(_search(data, experiment, FILTERED, f"search-filtered of {total:,}", total))
    return [
        *newest,
        growth("search-newest, growth", newest[0], newest[-1], 1.5),
        *filtered,
        growth("search-filtered, growth", filtered[0], filtered[-1], 5),
    ]


def _search(data: Seeds, experiment: str, body: dict[str, Any], name: str, total: int) -> Result:
    body = body | {"experiment_ids": [experiment]}
    expected = seeds.filtered if "filter" in body else seeds.newest
    answer = data.server.post("runs/search", body)
    result = timed(name, data.server.name, [lambda: data.server.post("runs/search", body)] * CALLS)
    try:
        workloads.check_search(answer, expected(total, body["max_results"]))
    except workloads.WrongAnswerError as error:
        result.problems.append(str(error))
    return result


Rows = list[tuple[object, ...]]


def insert(data: Seeds, experiment: str, numbers: range) -> None:
    """Inserts runs like those of `Seeds.searched`, by COPY; the API would take too long."""
    server = data.server
    runs = [SearchedRun(number) for number in numbers]
    find_tenant = "SELECT tenant_id FROM experiments WHERE experiment_id = %s"
    tenant = server.count(find_tenant, [int(experiment)])
    with server.postgres.connect(server.database) as connection, connection.transaction():
        for table, rows in _rows(tenant, int(experiment), runs).items():
            with connection.cursor().copy(f"COPY {table} FROM STDIN") as copying:
                for row in rows:
                    copying.write_row(row)


def _rows(tenant: int, experiment: int, runs: list[SearchedRun]) -> dict[str, Rows]:
    # UUIDs in order of creation, like those that the service assigns.
    ids = {run.number: f"018bcfe5-6800-7000-8000-{run.number:012}" for run in runs}
    return {
        "runs (tenant_id, run_id, experiment_id, name, user_id, status, start_time)": [
            (tenant, ids[run.number], experiment, run.name, "", "FINISHED", run.start_time)
            for run in runs
        ],
        "params (tenant_id, run_id, key, value)": [
            (tenant, ids[run.number], f"param_{index}", value)
            for run in runs
            for index, value in enumerate(run.params)
        ],
        "run_tags (tenant_id, run_id, key, value)": [
            (tenant, ids[run.number], key, value)
            for run in runs
            for key, value in (("tag_0", run.tag), ("tag_1", "constant"))
        ],
        "metric_series (tenant_id, run_id, series_id, key, last_step, last_timestamp,"
        " last_value, settled_value, max_timestamp, point_count, min_value, max_value)": [
            (tenant, ids[run.number], *_series(run, index, value))
            for run in runs
            for index, value in enumerate(run.metrics)
        ],
    }


def _series(run: SearchedRun, index: int, value: float) -> tuple[object, ...]:
    # Beyond the ids that the service assigns meanwhile.
    series_id = 10**9 + run.number * seeds.ITEMS + index
    return series_id, f"metric_{index}", 0, seeds.START, value, value, seeds.START, 1, value, value
