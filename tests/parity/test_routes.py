"""Every hand-picked case gets the same answers from MLflow's server and from ours."""

from collections.abc import Callable

import pytest

from .cases import CASES
from .difference import Difference
from .differences import DIFFERENCES
from .normalize import Pair, UnlikeError

_played: set[str] = set()


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, empty_pair: Callable[[], Pair]) -> None:
    pair = empty_pair()
    unlike = []
    for call in CASES[name]:
        try:
            pair.call(call)
        except UnlikeError as difference:
            unlike.append(str(difference))
    assert not unlike, "\n".join(["", *unlike])
    _played.add(name)


def test_every_listed_difference_is_met(found: set[Difference]) -> None:
    """It belongs off the list once it is gone."""
    if _played != set(CASES):
        pytest.skip("only the whole table meets them all")
    assert [each.name for each in DIFFERENCES if each not in found] == []
