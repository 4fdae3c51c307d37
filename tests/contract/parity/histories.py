"""What the random histories share: two empty servers, each step made on both, and how long it goes
on.

A short run is the same every time. TRACKING_PARITY_EXAMPLES asks for that many random histories.
"""

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, run_state_machine_as_test
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tests.contract.parity.cases.calls import Call
from tests.contract.parity.difference import Answer
from tests.contract.parity.normalize import Pair, Side

EXAMPLES = int(os.environ.get("TRACKING_PARITY_EXAMPLES", "0"))
STEPS = 30

Record = Callable[[str, object], None]

# Few of each, so that they are met again.
KEYS = st.sampled_from(["k", "k/2", "x y"])
VALUES = st.sampled_from(["", "1", "2", "it's"])
TIMES = st.integers(1, 4)
PLACES = st.integers(0, 3)


class History(RuleBasedStateMachine):
    """Each rule of a subclass is a step, whose answers are compared."""

    make_pair: Callable[[], Pair]
    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.pair = type(self).make_pair()
        self.clients = [
            (side, MlflowClient(side.url)) for side in (self.pair.theirs, self.pair.ours)
        ]

    @invariant()
    def count(self) -> None:
        type(self).steps += 1

    def call(self, call: Call) -> Answer:
        return self.pair.call(call)

    def through_client(self, name: str, use: Callable[[MlflowClient, Side], Any]) -> None:
        theirs, ours = (outcome(use, client, side) for side, client in self.clients)
        self.pair.compare(name, theirs, ours)


def outcome(use: Callable[[MlflowClient, Side], Any], client: MlflowClient, side: Side) -> Answer:
    """What the client gave its user, or the error that it raised."""
    try:
        return Answer(200, use(client, side))
    except MlflowException as error:
        message = error.message.removeprefix(f"{error.error_code}: ")
        return Answer(
            error.get_http_status_code(), {"error_code": error.error_code, "message": message}
        )


def play(
    history: type[History],
    short: int,
    empty_pair: Callable[[], Pair],
    monkeypatch: pytest.MonkeyPatch,
    record_property: Record,
) -> None:
    """Histories at random; `short` of them, unless more are asked for."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setattr(history, "make_pair", staticmethod(empty_pair), raising=False)
    run_state_machine_as_test(
        history,
        settings=settings(
            max_examples=EXAMPLES or short,
            stateful_step_count=STEPS,
            derandomize=not EXAMPLES,
            database=None,
            # Each try is hundreds of calls: the first history that differs is told as it is.
            phases=[Phase.generate],
            report_multiple_bugs=False,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    record_property("steps", history.steps)
    print(f"{history.steps} steps")
