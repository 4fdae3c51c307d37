"""Random histories of experiments and runs, by raw HTTP and through MLflow's client: every answer
on the way is the same on both servers, and so is everything at the end.

A short run is the same every time. TRACKING_PARITY_EXAMPLES asks for that many random histories.
"""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule
from mlflow.entities import Metric, Param, RunTag, ViewType

from tests.contract.parity.cases import calls
from tests.contract.parity.histories import (
    EXAMPLES,
    KEYS,
    PLACES,
    TIMES,
    VALUES,
    History,
    Record,
    play,
)
from tests.contract.parity.normalize import Pair

NAMES = st.sampled_from(["a", "b", "Default", "ä b"])
NUMBERS = st.sampled_from([0.0, 1.0, -1.0, 1.5, 1e300, "NaN", "Infinity", "-Infinity"])
STATUSES = st.sampled_from([None, "RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"])
VIEWS = st.sampled_from(["ACTIVE_ONLY", "DELETED_ONLY", "ALL"])
FILTERS = st.sampled_from(
    [
        "",
        "metrics.k > 0",
        "metrics.`k/2` <= 1",
        "metrics.k != 1",
        "params.k = '1'",
        "params.k LIKE '%'",
        "params.`x y` != '1'",
        "tags.k = '2'",
        "tags.k IS NULL",
        "tags.`k/2` ILIKE '%S'",
        "run_name = 'a'",
        "run_name IN ('a', 'b')",
        "status = 'FINISHED'",
        "start_time > 3",
        "end_time < 3",
        "params.k = 1",
        "metrics.k = 'a'",
    ]
)
ORDERS = st.sampled_from(
    ["metrics.k", "metrics.k DESC", "params.k", "tags.k DESC", "run_name", "status", "end_time"]
)


class Histories(History):
    """Ids are kept as `e0`, `r0` and so on; a place among them may stand for one that has none."""

    def __init__(self) -> None:
        super().__init__()
        self.experiments, self.runs = 1, 0
        for side in (self.pair.theirs, self.pair.ours):
            side.kept["e0"] = "0"

    def experiment(self, place: int) -> str:
        return f"$e{place % self.experiments}"

    def run_at(self, place: int) -> str:
        return f"$r{place % self.runs}" if self.runs else "0" * 32

    # --- experiments ----------------------------------------------------------------------------

    @rule(name=NAMES, key=KEYS, value=VALUES)
    def create_experiment(self, name: str, key: str, value: str) -> None:
        tags = calls.tags(**{key: value})
        answer = self.call(calls.post("experiments/create", name=name, tags=tags))
        if answer.status == 200:
            keep = {f"e{self.experiments}": "experiment.experiment_id"}
            self.call(calls.get("experiments/get-by-name", experiment_name=name).keeping(**keep))
            self.experiments += 1

    @rule(place=PLACES, name=NAMES)
    def rename_experiment(self, place: int, name: str) -> None:
        experiment = self.experiment(place)
        self.call(calls.post("experiments/update", experiment_id=experiment, new_name=name))

    @rule(place=PLACES, action=st.sampled_from(["delete", "restore"]))
    def archive_experiment(self, place: int, action: str) -> None:
        self.call(calls.post(f"experiments/{action}", experiment_id=self.experiment(place)))

    @rule(place=PLACES, key=KEYS, value=VALUES)
    def tag_experiment(self, place: int, key: str, value: str) -> None:
        self.through_client(
            "POST experiments/set-experiment-tag",
            lambda client, side: client.set_experiment_tag(
                side.kept[self.experiment(place)[1:]], key, value
            ),
        )

    @rule(view=VIEWS, order=st.sampled_from(["name", "name DESC", "experiment_id"]))
    def search_experiments(self, view: str, order: str) -> None:
        view_type = ViewType.from_string(view.lower())
        self.through_client(
            "POST experiments/search",
            lambda client, _: [
                dict(one) for one in client.search_experiments(view_type, order_by=[order])
            ],
        )

    # --- runs -----------------------------------------------------------------------------------

    @rule(place=PLACES, name=NAMES, key=KEYS, value=VALUES)
    def create_run(self, place: int, name: str, key: str, value: str) -> None:
        call = calls.post(
            "runs/create",
            experiment_id=self.experiment(place),
            run_name=name,
            # Searches put the newest first; of two that began at once, any.
            start_time=self.runs + 1,
            tags=calls.tags(**{key: value}),
        )
        answer = self.call(call)
        if answer.status == 200:
            keep = {f"r{self.runs}": "runs.0.info.run_id"}
            newest = calls.search_runs(
                f"start_time = {self.runs + 1}",
                experiment_ids=[self.experiment(place)],
                run_view_type="ALL",
            )
            self.call(newest.keeping(**keep))
            self.runs += 1

    @rule(place=PLACES, status=STATUSES, end_time=st.none() | TIMES, name=st.none() | NAMES)
    def update_run(
        self, place: int, status: str | None, end_time: int | None, name: str | None
    ) -> None:
        fields = {"status": status, "end_time": end_time, "run_name": name}
        self.call(calls.update_run(run_id=self.run_at(place), **fields))

    @rule(place=PLACES, action=st.sampled_from(["delete", "restore"]))
    def delete_run(self, place: int, action: str) -> None:
        self.call(calls.post(f"runs/{action}", run_id=self.run_at(place)))

    @rule(place=PLACES, key=KEYS, value=NUMBERS, timestamp=TIMES, step=st.integers(-1, 3))
    def log_metric(self, place: int, key: str, value: Any, timestamp: int, step: int) -> None:
        self.call(calls.log_metric(key, value, timestamp, step, run=self.run_at(place)))

    @rule(place=PLACES, key=KEYS, value=VALUES)
    def log_param(self, place: int, key: str, value: str) -> None:
        self.call(calls.log_param(key, value, run=self.run_at(place)))

    @rule(place=PLACES, key=KEYS | st.just("mlflow.runName"), value=VALUES)
    def set_tag(self, place: int, key: str, value: str) -> None:
        self.call(calls.set_tag(key, value, run=self.run_at(place)))

    @rule(place=PLACES, key=KEYS)
    def delete_tag(self, place: int, key: str) -> None:
        self.call(calls.delete_tag(key, run=self.run_at(place)))

    @rule(
        place=PLACES,
        points=st.lists(st.tuples(KEYS, st.floats(-2, 2, width=16), TIMES, TIMES), max_size=5),
        params=st.dictionaries(KEYS, VALUES, max_size=2),
        tags=st.dictionaries(KEYS, VALUES, max_size=2),
    )
    def log_batch(
        self,
        place: int,
        points: list[tuple[str, float, int, int]],
        params: dict[str, str],
        tags: dict[str, str],
    ) -> None:
        self.through_client(
            "POST runs/log-batch",
            lambda client, side: client.log_batch(
                side.kept.get(self.run_at(place)[1:], "0" * 32),
                [Metric(*point) for point in points],
                [Param(key, value) for key, value in params.items()],
                [RunTag(key, value) for key, value in tags.items()],
            ),
        )

    # --- what is read ---------------------------------------------------------------------------

    @rule(places=st.lists(PLACES, min_size=1, max_size=3), filter=FILTERS, order=ORDERS, view=VIEWS)
    def search_runs(self, places: list[int], filter: str, order: str, view: str) -> None:
        self.call(
            calls.search_runs(
                filter,
                experiment_ids=[self.experiment(place) for place in places],
                order_by=[order, "start_time DESC"],
                run_view_type=view,
            )
        )

    @rule(place=PLACES, key=KEYS)
    def read_history(self, place: int, key: str) -> None:
        self.through_client(
            "GET metrics/get-history",
            lambda client, side: [
                dict(point)
                for point in client.get_metric_history(
                    side.kept.get(self.run_at(place)[1:], "0" * 32), key
                )
            ],
        )

    def teardown(self) -> None:
        """Everything there is, whatever was read before."""
        every = [f"$e{place}" for place in range(self.experiments)]
        for experiment in every:
            self.call(calls.get_experiment(experiment))
        self.call(calls.search_runs(experiment_ids=every, run_view_type="ALL"))
        for place in range(self.runs):
            for key in ("k", "k/2", "x y"):
                self.call(calls.history(key, run=f"$r{place}"))


@pytest.mark.timeout(0 if EXAMPLES else 180)
def test_random_histories(
    empty_pair: Callable[[], Pair], monkeypatch: pytest.MonkeyPatch, record_property: Record
) -> None:
    play(Histories, 8, empty_pair, monkeypatch, record_property)
