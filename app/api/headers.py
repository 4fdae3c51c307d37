"""Request headers that both APIs read."""

from collections.abc import Mapping

# No size has more digits, and int() refuses very long numbers.
_MAX_DIGITS = 18


def content_length(headers: Mapping[str, str]) -> int | None:
    """The length of the body in bytes, where a well-formed one is declared."""
    declared = headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and len(declared) <= _MAX_DIGITS:
        return int(declared)
    return None
