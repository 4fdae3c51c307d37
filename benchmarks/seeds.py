"""Test data of a server, created through its own API before the measurements."""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from benchmarks.servers import Server

RUNS = 2_000
ITEMS = 20  # params, and metrics, of each run that is searched
WIDE = 100  # params, and metrics, of the run that is read
SERIES_POINTS = 100_000
BATCH = 1_000
WRITERS = 8

START = 1_700_000_000_000  # epoch milliseconds
SERIES_KEY = "loss"

FILTER = "metrics.metric_0 < 0.5 and params.param_0 = 'value 0' and tags.tag_0 = 'even'"
ORDER = "metrics.metric_1 ASC"


@dataclass(frozen=True)
class SearchedRun:
    """The contents of a run to search; about one in twenty matches the filter."""

    number: int

    @property
    def name(self) -> str:
        return f"run-{self.number}"

    @property
    def start_time(self) -> int:
        return START + self.number * 1000

    @cached_property
    def metrics(self) -> list[float]:
        draw = random.Random(self.number)
        return [draw.random() for _ in range(ITEMS)]

    @property
    def params(self) -> list[str]:
        return [f"value {(self.number + index) % 5}" for index in range(ITEMS)]

    @property
    def tag(self) -> str:
        return "odd" if (self.number // 5) % 2 else "even"

    @property
    def matches(self) -> bool:
        return self.metrics[0] < 0.5 and self.params[0] == "value 0" and self.tag == "even"


def newest(total: int, limit: int) -> list[str]:
    """The names of the runs that a search without a filter finds, in its order."""
    return [SearchedRun(number).name for number in range(total - 1, total - 1 - limit, -1)]


def filtered(total: int, limit: int) -> list[str]:
    """The names of the runs that FILTER and ORDER find, in that order."""
    found = [run for run in map(SearchedRun, range(total)) if run.matches]
    return [run.name for run in sorted(found, key=lambda run: run.metrics[1])[:limit]]


class Seeds:
    """The test data of one server. Each kind is created at its first use."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def experiment(self, name: str) -> str:
        return str(self.server.post("experiments/create", {"name": name})["experiment_id"])

    @cached_property
    def logged(self) -> str:
        """Id of the experiment with the runs that are logged to."""
        return self.experiment("logged")

    @cached_property
    def created(self) -> str:
        """Id of the experiment that the workload `create` creates runs in."""
        return self.experiment("created")

    def new_run(self) -> str:
        return self.create_run({"experiment_id": self.logged, "start_time": START})

    def create_run(self, body: dict[str, Any]) -> str:
        return str(self.server.post("runs/create", body)["run"]["info"]["run_id"])

    def sixteen_runs(self) -> list[str]:
        return [self.new_run() for _ in range(16)]

    @cached_property
    def searched(self) -> str:
        """Id of the experiment with 2,000 runs of 20 params and 20 metrics each."""
        experiment = self.experiment("searched")

        def seed(number: int) -> None:
            run = SearchedRun(number)
            tags = {"tag_0": run.tag, "tag_1": "constant"}
            run_id = self.create_run(
                {
                    "experiment_id": experiment,
                    "run_name": run.name,
                    "start_time": run.start_time,
                    "tags": pairs(tags),
                }
            )
            self.log(run_id, run.metrics, run.params)

        in_parallel(seed, range(RUNS))
        return experiment

    @cached_property
    def wide_run(self) -> str:
        """Id of a run with 100 params and 100 metrics."""
        run_id = self.new_run()
        self.log(run_id, [index / 7 for index in range(WIDE)], ["value"] * WIDE)
        return run_id

    @cached_property
    def series_run(self) -> str:
        """Id of a run with a metric of 100,000 points."""
        run_id = self.new_run()
        self.log_series(run_id, 0, SERIES_POINTS)
        return run_id

    def log(self, run_id: str, metrics: Sequence[float], params: Sequence[str]) -> None:
        body = {
            "run_id": run_id,
            "metrics": [
                {"key": f"metric_{index}", "value": value, "timestamp": START, "step": 0}
                for index, value in enumerate(metrics)
            ],
            "params": pairs({f"param_{index}": value for index, value in enumerate(params)}),
        }
        self.server.post("runs/log-batch", body)

    def log_series(self, run_id: str, first: int, last: int) -> None:
        """Logs one point of a metric for each step from `first` to `last`, exclusive."""
        for step in range(first, last, BATCH):
            steps = range(step, min(step + BATCH, last))
            self.server.post("runs/log-batch", series_batch(run_id, steps))


def series_batch(run_id: str, steps: Sequence[int]) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "metrics": [
            {"key": SERIES_KEY, "value": 1 / (step + 1), "timestamp": START + step, "step": step}
            for step in steps
        ],
    }


def pairs(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def in_parallel(work: Callable[[int], None], items: Sequence[int]) -> None:
    with ThreadPoolExecutor(WRITERS) as pool:
        for _ in pool.map(work, items):
            pass
