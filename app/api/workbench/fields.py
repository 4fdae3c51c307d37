"""Fields that the requests and answers of several resources share: their types and conversions."""

import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from app.kernel.errors import InvalidValueError
from app.kernel.lifecycle import ViewType
from app.kernel.validation import INT64_MAX, INT64_MIN

# The last millisecond of the year 9999, in epoch milliseconds: ISO 8601 has years of four digits.
MAX_TIME = 253_402_300_799_999
_EPOCH = datetime(
    1970, 1, 1
)  # naive, since isoformat() writes the offset of UTC as +00:00 instead of Z
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

# Tags of this prefix are MLflow's own. Those that the workbench knows are fields, and fields alone,
# so that no value can be set in two ways at once.
_MLFLOW_PREFIX = "mlflow."


class RequestBody(BaseModel):
    """Base of requests. Unknown fields are refused: most of them are misspelt."""

    model_config = ConfigDict(extra="forbid")


class ResponseBody(BaseModel):
    """Base of answers. NaN and the infinities, which JSON lacks, are strings."""

    model_config = ConfigDict(ser_json_inf_nan="strings")


def _parse_number(value: object) -> object:
    if isinstance(value, str) and value in _NON_FINITE:
        return _NON_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError('must be a number, or one of "NaN", "Infinity" and "-Infinity"')
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError("is too large for a 64-bit floating-point number") from error


def _parse_param(value: object) -> object:
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

MetricValue = Annotated[float, BeforeValidator(_parse_number), WithJsonSchema(_NUMBER_SCHEMA)]
ShownNumber = Annotated[float, WithJsonSchema(_NUMBER_SCHEMA)]
ParamValue = Annotated[
    str,
    BeforeValidator(_parse_param),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}],
            "description": "Stored as text: numbers and booleans as their JSON text.",
        }
    ),
]
Limit = Annotated[int, Field(ge=1, le=1000, description="The most items that the page holds.")]
Offset = Annotated[int, Field(ge=0, le=INT64_MAX, description="How many items to skip.")]
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
    """The lifecycle stages that a list shows."""

    ACTIVE = "active"
    DELETED = "deleted"
    ALL = "all"

    @property
    def view(self) -> ViewType:
        """The corresponding view type."""
        match self:
            case Stage.ACTIVE:
                return "ACTIVE_ONLY"
            case Stage.DELETED:
                return "DELETED_ONLY"
            case Stage.ALL:
                return "ALL"


def json_number(value: float | None) -> float | str | None:
    """A number for JSON: NaN and the infinities as strings."""
    if value is None or math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def iso_time(epoch_ms: int) -> str:
    """A time as `2025-01-31T08:30:00.123Z`.

    MLflow's clients may store any 64-bit number: one after the year 9999 becomes its last moment,
    a negative one 1970.
    """
    moment = _EPOCH + timedelta(milliseconds=min(max(epoch_ms, 0), MAX_TIME))
    return moment.isoformat(timespec="milliseconds") + "Z"


def refuse_mlflow_tags(tags: Iterable[str]) -> None:
    """Raises InvalidValueError for the first of the tags that is MLflow's own."""
    for key in tags:
        if key.startswith(_MLFLOW_PREFIX):
            raise InvalidValueError(
                f"Tags that start with '{_MLFLOW_PREFIX}' cannot be set in this API: the name, the"
                " description and the parent run are fields",
                field=f"tags.{key}",
            )


def without_mlflow_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that answers show: all but MLflow's own."""
    return {key: value for key, value in tags.items() if not key.startswith(_MLFLOW_PREFIX)}
