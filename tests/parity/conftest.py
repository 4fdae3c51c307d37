"""One MLflow server for all of parity's tests; both servers are empty when a test begins."""

import secrets
from collections.abc import Callable, Iterator

import httpx
import pytest

from .difference import Difference
from .normalize import Pair
from .reference import Reference, running_reference


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reference]:
    with running_reference(tmp_path_factory.mktemp("mlflow")) as server:
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
    """Makes both servers empty: MLflow's by emptying its database, ours by a new tenant."""

    def make() -> Pair:
        reference.reset()
        our_url = f"{server_url}/t/t-{secrets.token_hex(6)}"
        # The first write is what brings a tenant, and its experiment 0, into being.
        http.post(
            f"{our_url}/api/2.0/mlflow/experiments/set-experiment-tag",
            json={"experiment_id": "1", "key": "k"},
        )
        return Pair(reference, our_url, http, found)

    return make
