"""What a tenant may be called."""

import pytest

from app.kernel.tenant import is_slug


@pytest.mark.parametrize("name", ["a", "7", "acme-corp", "a" * 48, "0-0", "a--b"])
def test_legal(name: str) -> None:
    assert is_slug(name)


@pytest.mark.parametrize(
    "name",
    ["", "-", "-a", "a-", "a" * 49, "Acme", "a_b", "a.b", "a b", "a/b", "..", "é", "a\n", "a\x00"],
)
def test_illegal(name: str) -> None:
    assert not is_slug(name)
