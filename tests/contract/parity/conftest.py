"""One MLflow server for all of parity's tests; both servers are empty when a test begins."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from tests.contract.parity.cases.calls import Call
from tests.contract.parity.cases.workspaces import API as WORKSPACES
from tests.contract.parity.difference import Answer, Difference
from tests.contract.parity.normalize import Pair, Side
from tests.contract.parity.reference import Reference, running_reference


@pytest.fixture(scope="session")
def reference(mlflow_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reference]:
    with running_reference(tmp_path_factory.mktemp("mlflow"), mlflow_tables) as server:
        yield server


@pytest.fixture(scope="session")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def found() -> set[Difference]:
    """The listed differences that were met so far."""
    return set()


@pytest.fixture(scope="session")
def empty_pair(
    reference: Reference, server_url: str, http: httpx.Client, found: set[Difference]
) -> Callable[[], Pair]:
    """Makes both servers empty: MLflow's by emptying its database, ours by a tenant that does not
    exist yet."""

    def make() -> Pair:
        reference.reset()
        our_url = f"{server_url}/t/t-{secrets.token_hex(6)}"
        return Pair(reference, our_url, http, found)

    return make


@pytest.fixture(scope="session")
def reference_with_workspaces(
    mlflow_tables: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reference]:
    folder = tmp_path_factory.mktemp("mlflow-workspaces")
    with running_reference(folder, mlflow_tables, "--enable-workspaces") as server:
        yield server


@dataclass
class SharedSide(Side):
    """Our server as a whole, without the workspaces of other tests."""

    others: frozenset[str] = frozenset()

    def send(self, call: Call) -> Answer:
        answer = super().send(call)
        if not isinstance(answer.body, dict) or "workspaces" not in answer.body:
            return answer
        shown = [one for one in answer.body["workspaces"] if one["name"] not in self.others]
        return replace(answer, body={"workspaces": shown})


@pytest.fixture
def workspaces_pair(
    reference_with_workspaces: Reference,
    server_url: str,
    http: httpx.Client,
    found: set[Difference],
) -> Pair:
    """Both servers without a workspace but the default one, and names for two more."""
    reference_with_workspaces.reset()
    pair = Pair(reference_with_workspaces, server_url, http, found)
    there = http.get(f"{server_url}{WORKSPACES}").json()["workspaces"]
    others = frozenset(one["name"] for one in there) - {"default"}
    pair.ours = SharedSide(server_url, http, {}, {}, others)
    for name in ("ws", "other"):
        pair.theirs.kept[name] = pair.ours.kept[name] = f"t-{secrets.token_hex(6)}"
    return pair
