"""Parsing of headers with any content."""

import pytest

from app.api.headers import content_length


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("0", 0),
        ("12", 12),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("²", None),
        ("9" * 5000, None),
    ],
)
def test_content_length(declared: str, expected: int | None) -> None:
    """Only plain decimal digits count; others are as good as none, and never an error of ours."""
    assert content_length({"content-length": declared}) == expected
    assert content_length({}) is None
