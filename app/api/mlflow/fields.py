"""Fields that the messages of several of MLflow's resources share: their types and conversions."""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, TypeVar, get_args

import msgspec

from app.kernel import validation
from app.kernel.errors import InvalidValueError
from app.kernel.lifecycle import ViewType
from app.kernel.tenant import TENANT_TAG
from app.runs.entities import RUN_NAME_TAG

# A field that MLflow requires; an empty string counts as missing.
Required = Annotated[str, msgspec.Meta(min_length=1)]

# The most that a page holds. MLflow lets clients ask for up to 200,000, and they follow the token
# of the next page in any case.
MAX_PAGE = 5_000

_RUN_ID = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}")
_DERIVED_TAGS = {TENANT_TAG, RUN_NAME_TAG}

Name = TypeVar("Name", bound=str)


class KeyValue(msgspec.Struct):
    """A tag or a param. MLflow's messages have no required fields: a missing one is empty."""

    key: str = ""
    value: str = ""


def key_values(values: Mapping[str, str]) -> list[KeyValue]:
    """Tags or params as MLflow writes them."""
    return [KeyValue(key, value) for key, value in values.items()]


def tags_by_key(tags: Sequence[KeyValue], field: str = "tags") -> dict[str, str]:
    """The last value of each key. Raises InvalidValueError for more than one request may have, not
    counting the derived tags, which copies of runs bring along."""
    by_key = {tag.key: tag.value for tag in tags}
    if len(tags) > validation.MAX_PAIRS:
        count = len(tags) - len(by_key.keys() & _DERIVED_TAGS)
        validation.at_most(count, validation.MAX_PAIRS, field)
    return by_key


def params_by_key(params: Sequence[KeyValue]) -> dict[str, str]:
    """The value of each key. Raises InvalidValueError for a key that is given twice, and for more
    params than one request may have."""
    by_key = tags_by_key(params, "params")
    if len(by_key) < len(params):
        counts = Counter(param.key for param in params)
        repeated = [key for key, count in counts.items() if count > 1]
        raise InvalidValueError(
            f"Duplicate parameter keys have been submitted: {sorted(repeated)}. Please ensure the"
            " request contains only one param value per param key.",
            field="params",
        )
    return by_key


def json_double(value: float) -> float | str:
    """A double as protobuf's JSON mapping writes it: NaN and the infinities as strings."""
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def page_size(max_results: int, limit: int, default: int | None = None) -> int:
    """How many items a page holds: `max_results`, or MAX_PAGE where that is less. `default` is for
    a `max_results` of 0.

    Raises InvalidValueError for a `max_results` that is not between 1 and `limit`.
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


def enum_name(field: str, given: str | int, names: Sequence[Name]) -> Name:
    """A name of an enum, which is given by that name or by its number; protobuf counts from 1.

    Raises InvalidValueError for anything else.
    """
    for number, name in enumerate(names, start=1):
        if given in (name, number, str(number)):
            return name
    raise validation.invalid(field, given, f"it must be one of {', '.join(names)}")


def view_type(field: str, given: str | int) -> ViewType:
    """A view type, which is given by its name or its number. Raises InvalidValueError."""
    names: Sequence[ViewType] = get_args(ViewType)
    return enum_name(field, given, names)


def check_run_id(given: str) -> None:
    """Raises InvalidValueError for what has not even the form of an id: some of MLflow's calls tell
    it from the id of a run that does not exist."""
    if len(given) != 32 and not _RUN_ID.fullmatch(given):
        shown = json.dumps(given, separators=(",", ":"))
        raise InvalidValueError(
            f"Invalid value {shown} for parameter 'run_id' supplied.", field="run_id"
        )


def experiment_id(given: str) -> str:
    """The id of an experiment as given, if it is a number.

    Raises InvalidValueError, as MLflow does, where somebody gives an experiment's name instead.
    """
    if not re.fullmatch(r"-?[0-9]+", given):
        raise InvalidValueError(
            f"Invalid experiment ID '{given}'. Experiment ID must be a valid integer.",
            field="experiment_id",
        )
    return given
