"""What counts as the same answer, and what does not."""

from typing import Any

import httpx
import pytest

from tests.contract.parity.difference import Answer, Difference
from tests.contract.parity.normalize import Pair, UnlikeError
from tests.contract.parity.reference import Reference

ONE, TWO = "1" * 32, "2" * 32
OTHER, ANOTHER = "a" * 32, "b" * 32


class Nowhere(Reference):
    """No server: the answers are made up here."""

    def __init__(self) -> None:
        self.url = ""


@pytest.fixture
def met() -> set[Difference]:
    return set()


@pytest.fixture
def pair(met: set[Difference]) -> Pair:
    return Pair(Nowhere(), "", httpx.Client(), met)


def compare(pair: Pair, theirs: Any, ours: Any, call: str = "GET runs/get") -> None:
    pair.compare(call, Answer(200, theirs), Answer(200, ours))


def test_ids_are_renamed(pair: Pair) -> None:
    compare(pair, {"a": ONE, "b": [TWO]}, {"a": OTHER, "b": [ANOTHER]})
    compare(pair, {"uri": f"x/{TWO}/y"}, {"uri": f"x/{ANOTHER}/y"})


def test_one_id_for_another(pair: Pair) -> None:
    compare(pair, {"a": ONE, "b": TWO}, {"a": OTHER, "b": ANOTHER})
    with pytest.raises(UnlikeError):
        compare(pair, {"a": ONE}, {"a": ANOTHER})


def test_an_id_that_was_not_seen_for_one_that_was(pair: Pair) -> None:
    compare(pair, {"a": ONE}, {"a": OTHER})
    with pytest.raises(UnlikeError):
        compare(pair, {"a": TWO}, {"a": OTHER})


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1}, {"a": "1"}),
        ({"a": 1}, {}),
        ({}, {"a": None}),
        ({"metrics": [1, 2]}, {"metrics": [2, 1]}),
        ({"tags": [{"key": "a"}]}, {"tags": []}),
    ],
)
def test_other_values(pair: Pair, theirs: Any, ours: Any) -> None:
    with pytest.raises(UnlikeError):
        compare(pair, theirs, ours)


def test_another_status(pair: Pair) -> None:
    with pytest.raises(UnlikeError):
        pair.compare("GET runs/get", Answer(200, {}), Answer(404, {}))


def test_tags_have_no_order(pair: Pair) -> None:
    tags = [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]
    compare(pair, {"tags": tags}, {"tags": tags[::-1]})


def test_a_listed_difference_is_met(pair: Pair, met: set[Difference]) -> None:
    compare(pair, {}, {"tags": [{"key": "matih.tenant_id", "value": "t"}]})
    assert [each.name for each in met] == ["the tenant's tag"]
