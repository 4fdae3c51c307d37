"""Every hand-picked case gets the same answers from MLflow's server and from ours."""

from collections.abc import Callable

import pytest

from tests.contract.parity.cases import CASES, workspaces
from tests.contract.parity.cases.calls import Case
from tests.contract.parity.difference import Difference
from tests.contract.parity.differences import DIFFERENCES
from tests.contract.parity.normalize import Pair, UnlikeError

_played: set[str] = set()


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, empty_pair: Callable[[], Pair]) -> None:
    _play(empty_pair(), CASES[name])
    _played.add(name)


@pytest.mark.parametrize("name", workspaces.CASES)
def test_case_of_workspaces(name: str, workspaces_pair: Pair) -> None:
    _play(workspaces_pair, workspaces.CASES[name])
    _played.add(f"workspaces: {name}")


def _play(pair: Pair, case: Case) -> None:
    unlike = []
    for call in case:
        try:
            pair.call(call)
        except UnlikeError as difference:
            unlike.append(str(difference))
    assert not unlike, "\n".join(["", *unlike])


def test_every_listed_difference_is_met(found: set[Difference]) -> None:
    """It belongs off the list once it is gone."""
    if _played != set(CASES) | {f"workspaces: {name}" for name in workspaces.CASES}:
        pytest.skip("only the whole table meets them all")
    assert [each.name for each in DIFFERENCES if each not in found] == []
