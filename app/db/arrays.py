"""Postgres arrays in text form.

One join in C is several times as fast as the driver's dump of each element, which counts where a
request brings a thousand points.
"""

from collections.abc import Iterable


def integers(values: Iterable[int]) -> str:
    return "{" + ",".join(map(str, values)) + "}"


def floats(values: Iterable[float]) -> str:
    """NaN and the infinities included: Postgres reads Python's words for them."""
    return "{" + ",".join(map(repr, values)) + "}"
