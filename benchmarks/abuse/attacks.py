"""The measured attacks: single expensive requests, or too many requests of one kind.

Their data is seeded through the API, up to the limits of the service.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from benchmarks import transfers
from benchmarks.abuse.plan import Plan, Request
from benchmarks.seeds import BATCH, SERIES_KEY, START, Seeds, in_parallel, pairs
from benchmarks.wrk import NUMBER

MIB = 1 << 20
BATCH_ITEMS = 100  # tags of a batch

Value = TypeVar("Value", str, None)


@dataclass(frozen=True)
class Attack:
    """An attack, sent with a key of the role `role`.

    `clients` is the number of attacking clients. If it is None, waits are measured beside one
    client and memory beside eight. The attack lasts `stretch` times as long as usual. With
    `files`, the other tenant also stores small files.
    """

    name: str
    label: str
    role: str
    prepare: Callable[[Seeds], Plan]
    clients: int | None = None
    stretch: int = 1
    files: bool = False


def _workbench(data: Seeds, route: str) -> str:
    return f"{data.server.prefix}/api/v1/experiments{route}"


def _json_body(start: str, items: Iterable[str], end: str) -> bytes:
    return (start + ",".join(items) + end).encode()


def _unknown_fields(count: int) -> Iterable[str]:
    return (f'"f{number:07}":0' for number in range(count))


def _log_batches(data: Seeds, run_id: str, batches: Iterable[dict[str, Any]]) -> int:
    """Logs batches to a run until the service refuses one; returns how many it stored."""
    stored = 0
    for batch in batches:
        answer = data.server.client.post(
            data.server.path("runs/log-batch"), json={"run_id": run_id, **batch}
        )
        if answer.status_code >= 400:
            break
        stored += 1
    return stored


def compare_unknown_fields(data: Seeds) -> Plan:
    """A comparison with 650,000 unknown fields, 8.5 MB."""
    start = f'{{"run_ids":["{data.new_run()}","{data.new_run()}"],'
    body = _json_body(start, _unknown_fields(650_000), "}")
    return Plan([Request("POST", _workbench(data, "/runs/compare"), body)])


def create_unknown_fields(data: Seeds) -> Plan:
    body = _json_body('{"name":"never made",', _unknown_fields(1_000_000), "}")
    return Plan([Request("POST", _workbench(data, ""), body)])


def create_many_tags(data: Seeds) -> Plan:
    tags = (f'{{"key":"tag_{number:05}","value":"value"}}' for number in range(20_000))
    body = _json_body(f'{{"name":"wide {NUMBER}","tags":[', tags, "]}")
    return Plan([Request("POST", data.server.path("experiments/create"), body)])


def run_many_tags(data: Seeds) -> Plan:
    tags = (f'{{"key":"tag_{number:06}","value":""}}' for number in range(600_000))
    body = _json_body(f'{{"experiment_id":"{data.logged}","tags":[', tags, "]}")
    return Plan([Request("POST", data.server.path("runs/create"), body)])


def search_many_ids(data: Seeds) -> Plan:
    ids = (f'"{number}"' for number in range(1_000_000, 2_400_000))
    body = _json_body('{"experiment_ids":[', ids, "]}")
    return Plan([Request("POST", data.server.path("runs/search"), body)])


def search_wrong_type(data: Seeds) -> Plan:
    """A search with 30 MB of experiment ids, the last one of a wrong type."""
    body = b'{"experiment_ids":[' + b'"1",' * 7_500_000 + b"1]}"
    return Plan([Request("POST", data.server.path("runs/search"), body)])


def deep_preview(data: Seeds) -> Plan:
    """The preview of JSON lists nested 900 deep; indented, it is a thousand times as long."""
    depth, size = 900, 256 << 10
    document = "[" * depth + "0," * ((size - 2 * depth) // 2 - 1) + "0" + "]" * depth
    run_id, uri = _run(data)
    path = transfers.proxy_path(data.server, uri, "deep.json")
    data.server.client.put(path, content=document).raise_for_status()
    return Plan(
        [Request("GET", _workbench(data, f"/runs/{run_id}/artifacts/deep.json?preview=json"))]
    )


def compare_many_metrics(data: Seeds) -> Plan:
    """A comparison of ten runs with 20,000 metrics each, which no other run has."""
    runs = [data.new_run() for _ in range(10)]
    stored = [0] * len(runs)

    def seed(place: int) -> None:
        firsts = range(place * 20_000, (place + 1) * 20_000, BATCH)
        stored[place] = BATCH * _log_batches(data, runs[place], map(_metrics, firsts))

    in_parallel(seed, range(len(runs)))
    body = _json_body('{"run_ids":[', (f'"{run_id}"' for run_id in runs), "]}")
    request = Request("POST", _workbench(data, "/runs/compare"), body)
    return Plan([request], about=f"{sum(stored):,} metrics in {len(runs)} runs")


def _metrics(first: int) -> dict[str, Any]:
    numbers = range(first, first + BATCH)
    return {
        "metrics": [
            {"key": f"metric_{number}", "value": number, "timestamp": START, "step": 0}
            for number in numbers
        ]
    }


def remove_tags(data: Seeds) -> Plan:
    """Requests that remove 16,000 tags, of an experiment and of a run in turn."""
    wanted = 16_000
    run_id = data.new_run()
    batches = (
        {"tags": pairs(_tags(first, BATCH_ITEMS, "value"))}
        for first in range(0, wanted, BATCH_ITEMS)
    )
    of_run = BATCH_ITEMS * _log_batches(data, run_id, batches)
    experiment, of_experiment = _workbench(data, f"/{data.logged}"), 0
    for first in range(0, wanted, BATCH):
        answer = data.server.client.patch(experiment, json={"tags": _tags(first, BATCH, "value")})
        of_experiment += 0 if answer.is_error else BATCH
    body = json.dumps({"tags": _tags(0, wanted, None)}).encode()
    return Plan(
        [
            Request("PATCH", experiment, body),
            Request("PATCH", _workbench(data, f"/runs/{run_id}"), body),
        ],
        about=f"{of_experiment:,} and {of_run:,} of {wanted:,} tags are there",
    )


def _tags(first: int, count: int, value: Value) -> dict[str, Value]:
    return {f"tag_{number:05}": value for number in range(first, first + count)}


def wide_runs(data: Seeds) -> Plan:
    """A search that finds 60 runs of 4.8 MB: 600 tags of 8,000 characters."""
    experiment, wanted = data.experiment("wide"), 600
    runs, stored = [data.create_run({"experiment_id": experiment}) for _ in range(60)], [0] * 60

    def seed(place: int) -> None:
        value = chr(ord("a") + place % 26) * 8_000
        batches = (
            {
                "tags": pairs(
                    {f"tag_{number}": value for number in range(first, first + BATCH_ITEMS)}
                )
            }
            for first in range(0, wanted, BATCH_ITEMS)
        )
        stored[place] = BATCH_ITEMS * _log_batches(data, runs[place], batches)

    in_parallel(seed, range(len(runs)))
    body = _json_body(f'{{"max_results":{len(runs)},"experiment_ids":[', [f'"{experiment}"'], "]}")
    request = Request("POST", data.server.path("runs/search"), body)
    return Plan([request], about=f"{sum(stored):,} of {60 * wanted:,} tags are there")


def long_history(data: Seeds) -> Plan:
    return Plan([_history(data)])


def unread_answers(data: Seeds) -> Plan:
    return Plan([_history(data)], "unread")


def _history(data: Seeds) -> Request:
    query = f"run_id={_long_series(data)}&metric_key={SERIES_KEY}"
    return Request("GET", f"{data.server.path('metrics/get-history')}?{query}")


def slow_reads(data: Seeds) -> Plan:
    """Samples of a long series, each from a different first step."""
    path = _workbench(data, f"/runs/{_long_series(data)}/metrics/{SERIES_KEY}")
    return Plan(
        [Request("GET", f"{path}?max_points=100000&step_min={first}") for first in range(1, 1_000)]
    )


LONG = 2_000_000

_FILL = """
INSERT INTO metric_points (tenant_id, series_id, timestamp, step, value)
SELECT tenant_id, series_id, %(start)s + step, step, random()
FROM metric_series, generate_series(1, %(points)s - 1) AS step
WHERE run_id = %(run)s
"""
_COUNT = """
UPDATE metric_series SET point_count = %(points)s, last_step = %(points)s - 1,
    last_timestamp = %(start)s + %(points)s - 1, max_timestamp = %(start)s + %(points)s - 1
WHERE run_id = %(run)s
"""


def _long_series(data: Seeds) -> str:
    """Id of a run with a metric of two million points, which are inserted into the database."""
    run_id = data.new_run()
    data.log_series(run_id, 0, 1)
    values = {"run": run_id, "start": START, "points": LONG}
    with data.server.postgres.connect(data.server.database) as connection:
        connection.execute(_FILL, values)
        connection.execute(_COUNT, values)
        connection.execute("VACUUM (ANALYZE) metric_points, metric_series")
    return run_id


def slow_bodies(data: Seeds) -> Plan:
    """A search with a body of 31 MiB, of which 30 MiB are sent at once."""
    body = b'{"filter":"' + b" " * (30 * MIB)
    path = data.server.path("runs/search")
    return Plan([Request("POST", path, body, length=31 * MIB)], "trickle")


def slow_uploads(data: Seeds) -> Plan:
    """An upload of 64 MiB, of which 16 MiB are sent at once."""
    path = transfers.proxy_path(data.server, _run(data)[1], f"slow/{NUMBER}")
    body = bytes(16 * MIB)
    return Plan(
        [Request("PUT", path, body, "application/octet-stream", length=64 * MIB)], "trickle"
    )


def trailers(data: Seeds) -> Plan:
    body = f'{{"experiment_ids":["{data.logged}"]}}'.encode()
    return Plan([Request("POST", data.server.path("runs/search"), body)], "trailers")


def copies(data: Seeds) -> Plan:
    run_id, uri = _run(data)
    path = transfers.proxy_path(data.server, uri, "large")
    data.server.client.put(path, content=bytes(200_000_000)).raise_for_status()
    body = f'{{"source_path":"large","path":"copies/{NUMBER}"}}'.encode()
    return Plan([Request("POST", _workbench(data, f"/runs/{run_id}/artifacts/copy"), body)])


def _run(data: Seeds) -> tuple[str, str]:
    """Creates a run; returns its id and its artifact URI."""
    info = data.server.post("runs/create", {"experiment_id": data.logged})["run"]["info"]
    return info["run_id"], info["artifact_uri"]


ATTACKS: Sequence[Attack] = (
    Attack("compare-fields", "compare, 8.5 MB of unknown fields", "read", compare_unknown_fields),
    Attack("create-fields", "create, a million unknown fields", "write", create_unknown_fields),
    Attack("preview", "preview of JSON 900 levels deep", "read", deep_preview),
    Attack("compare-metrics", "compare of many metrics", "read", compare_many_metrics),
    Attack("search-type", "search, a wrong type behind 30 MB", "read", search_wrong_type),
    Attack("create-tags", "create, 20,000 tags", "write", create_many_tags),
    Attack("search-ids", "search of 1.4 million experiments", "read", search_many_ids),
    Attack("run-tags", "new run, 600,000 tags", "write", run_many_tags),
    Attack("history", "all of 2,000,000 points", "read", long_history),
    Attack("remove-tags", "removal of 16,000 tags", "write", remove_tags),
    Attack("slow-reads", "ten slow reads", "read", slow_reads, 10),
    Attack("slow-bodies", "40 slow bodies of 31 MiB", "read", slow_bodies, 40),
    Attack("unread", "six large answers, unread", "read", unread_answers, 6, stretch=2),
    Attack("wide-runs", "search of 60 runs of 4.8 MB", "read", wide_runs),
    Attack("trailers", "endless trailers, 8 connections", "read", trailers, 8, stretch=2),
    Attack("uploads", "32 slow uploads", "write", slow_uploads, 32),
    Attack("copies", "24 copies of 200 MB", "write", copies, 24, files=True),
)
