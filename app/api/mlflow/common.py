"""Shapes and conversions that several of MLflow's resources share."""

import math
from collections.abc import Iterable, Mapping

import msgspec

from app.errors import InvalidValueError


class KeyValue(msgspec.Struct):
    """A tag or a param. MLflow's messages have no required fields: a missing one is empty."""

    key: str = ""
    value: str = ""


def pairs(values: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key, value) for key, value in values.items()]


def strings(values: Iterable[KeyValue]) -> dict[str, str]:
    """The last value of each key."""
    return {one.key: one.value for one in values}


def number(value: float) -> float | str:
    """A double as protobuf's JSON mapping writes it: NaN and the infinities as strings."""
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def page_size(max_results: int, limit: int, default: int | None = None) -> int:
    """`max_results` if it is one. Raises InvalidValueError where it is out of range."""
    if max_results == 0 and default is not None:
        return default
    if not 0 < max_results <= limit:
        raise InvalidValueError(
            f"Invalid value {max_results} for parameter 'max_results' supplied: It must be at"
            f" most {limit} and at least 1",
            field="max_results",
        )
    return max_results
