"""Shapes and conversions that several of MLflow's resources share."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, TypeVar, get_args

import msgspec

from app.kernel import validation
from app.kernel.errors import InvalidValueError
from app.kernel.lifecycle import ViewType

# A field that MLflow requires, for which an empty string is as good as none.
Required = Annotated[str, msgspec.Meta(min_length=1)]

# MLflow lets clients ask for up to 200,000 of a thing in one answer.
MAX_PAGE = 5_000

Name = TypeVar("Name", bound=str)


class KeyValue(msgspec.Struct):
    """A tag or a param. MLflow's messages have no required fields: a missing one is empty."""

    key: str = ""
    value: str = ""


def pairs(values: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key, value) for key, value in values.items()]


def strings(values: Sequence[KeyValue], field: str = "tags") -> dict[str, str]:
    """The last value of each key. Raises InvalidValueError for more than one request may have."""
    validation.at_most(len(values), validation.MAX_PAIRS, field)
    return {one.key: one.value for one in values}


def params(values: Sequence[KeyValue]) -> dict[str, str]:
    """Raises InvalidValueError for a key that comes twice: a param has one value."""
    given = strings(values, "params")
    if len(given) < len(values):
        repeated = [key for key, count in Counter(one.key for one in values).items() if count > 1]
        raise InvalidValueError(
            f"Duplicate parameter keys have been submitted: {sorted(repeated)}. Please ensure the"
            " request contains only one param value per param key.",
            field="params",
        )
    return given


def number(value: float) -> float | str:
    """A double as protobuf's JSON mapping writes it: NaN and the infinities as strings."""
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def page_size(max_results: int, limit: int, default: int | None = None) -> int:
    """`max_results`, or as many as a page holds at most; the next page's token leads to the rest.

    Raises InvalidValueError where it is out of range.
    """
    if max_results == 0 and default is not None:
        return default
    if not 0 < max_results <= limit:
        rule = "a positive integer" if max_results <= 0 else f"at most {limit}"
        raise InvalidValueError(
            f"Invalid value {max_results} for parameter 'max_results' supplied. It must be {rule}",
            field="max_results",
        )
    return min(max_results, MAX_PAGE)


def enum(field: str, given: str | int, names: Sequence[Name]) -> Name:
    """One of an enum's names, which protobuf counts from 1, by its name or its number."""
    for number, name in enumerate(names, start=1):
        if given in (name, number, str(number)):
            return name
    raise validation.invalid(field, given, f"it must be one of {', '.join(names)}")


def view(field: str, given: str | int) -> ViewType:
    names: Sequence[ViewType] = get_args(ViewType)
    return enum(field, given, names)


def experiment_id(given: str) -> str:
    """An experiment's id as given, if it can be one of MLflow's, which are numbers.

    Who gives an experiment's name instead is told so. Raises InvalidValueError.
    """
    if not re.fullmatch(r"-?[0-9]+", given):
        raise InvalidValueError(
            f"Invalid experiment ID '{given}'. Experiment ID must be a valid integer.",
            field="experiment_id",
        )
    return given
