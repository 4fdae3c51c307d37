"""The fields that requests and answers share: how they are read, checked and shown."""

import json
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from app.kernel import validation
from app.kernel.errors import InvalidValueError
from app.kernel.lifecycle import ViewType
from app.kernel.validation import INT64_MAX, INT64_MIN

# The last millisecond that ISO 8601's four-digit years can show.
MAX_TIME = 253_402_300_799_999
_EPOCH = datetime(1970, 1, 1)  # naive, so that isoformat leaves the offset to us: Z
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

# Tags of this prefix are MLflow's own. The workbench shows and sets those that mean something to
# it as fields, so that nothing can be set in two ways at once.
_MLFLOW = "mlflow."


class Body(BaseModel):
    """A request. A field that is not known is refused: most likely it is a known one, misspelt."""

    model_config = ConfigDict(extra="forbid")


class Shown(BaseModel):
    """An answer. JSON has no NaN and no infinities; they are strings."""

    model_config = ConfigDict(ser_json_inf_nan="strings")


def _number(value: object) -> object:
    if isinstance(value, str) and value in _NON_FINITE:
        return _NON_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError('must be a number, or one of "NaN", "Infinity" and "-Infinity"')
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError("is too large for a 64-bit floating-point number") from error


def _param_text(value: object) -> object:
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if not isinstance(value, str):
        raise ValueError("must be a string, a number or a boolean")
    return value


_NUMBER_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "number"},
        {"type": "string", "enum": list(_NON_FINITE)},
    ]
}

MetricValue = Annotated[float, BeforeValidator(_number), WithJsonSchema(_NUMBER_SCHEMA)]
ShownNumber = Annotated[float, WithJsonSchema(_NUMBER_SCHEMA)]
ParamValue = Annotated[
    str,
    BeforeValidator(_param_text),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}],
            "description": "Stored as text; a number or a boolean as its JSON text.",
        }
    ),
]
Limit = Annotated[int, Field(ge=1, le=1000, description="How many to show at most.")]
Offset = Annotated[int, Field(ge=0, le=INT64_MAX, description="How many to pass over first.")]
EpochMs = Annotated[int, Field(strict=True, ge=0, le=MAX_TIME, description="Epoch milliseconds.")]
Step = Annotated[int, Field(strict=True, ge=INT64_MIN, le=INT64_MAX)]
Time = Annotated[
    str,
    Field(
        description="ISO 8601 in UTC, to the millisecond.",
        json_schema_extra={"format": "date-time"},
    ),
]


class Stage(StrEnum):
    """Which lifecycle stages a list shows."""

    ACTIVE = "active"
    DELETED = "deleted"
    ALL = "all"

    @property
    def view(self) -> ViewType:
        """The same in MLflow's words."""
        match self:
            case Stage.ACTIVE:
                return "ACTIVE_ONLY"
            case Stage.DELETED:
                return "DELETED_ONLY"
            case Stage.ALL:
                return "ALL"


def shown_number(value: float | None) -> float | str | None:
    """A number as JSON can have it."""
    if value is None or math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def shown_time(epoch_ms: int) -> str:
    """A time as `2025-01-31T08:30:00.123Z`.

    MLflow's clients may store any 64-bit number; one beyond the year 9999 shows as its end.
    """
    moment = _EPOCH + timedelta(milliseconds=min(max(epoch_ms, 0), MAX_TIME))
    return moment.isoformat(timespec="milliseconds") + "Z"


def check_tags(
    tags: Mapping[str, str | None], limit: int = validation.MAX_TAG_VALUE_LENGTH
) -> None:
    """Raise InvalidValueError naming the first tag that cannot be set, by its key."""
    for key, value in tags.items():
        field = f"tags.{key}"
        validation.key(key, field)
        validation.text(value or "", field, limit)
        validation.settable(key, field)
        if key.startswith(_MLFLOW):
            raise InvalidValueError(
                f"Tags that start with '{_MLFLOW}' cannot be set here: a name, a description and a"
                " parent run are fields of their own",
                field=field,
            )


def check_params(params: Mapping[str, str]) -> None:
    """Raise InvalidValueError naming the first param that breaks a rule, by its key."""
    for key, value in params.items():
        validation.key(key, f"params.{key}")
        validation.text(value, f"params.{key}", validation.MAX_PARAM_VALUE_LENGTH)


def own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that are shown as such: all but MLflow's own."""
    return {key: value for key, value in tags.items() if not key.startswith(_MLFLOW)}
