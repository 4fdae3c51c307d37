"""From a request's bytes to one of MLflow's messages, as lenient as protobuf's JSON mapping is:
numbers may be strings, unknown fields are ignored, null is as good as absent.
"""

import json
import math
import re
from typing import Any, TypeVar

import msgspec
from starlette.datastructures import QueryParams

from app import validation
from app.errors import InvalidValueError

Message = TypeVar("Message", bound=msgspec.Struct)

SEE_DOCS = " See the API docs for more information about request parameters."
_STEP = re.compile(r"\.?(\w+)|\[(\d+)\]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def from_body(body: bytes, parameters: dict[str, str], message: type[Message]) -> Message:
    """Decode a JSON body; an empty one is an empty message. Raises InvalidValueError."""
    if not parameters:
        try:
            return msgspec.json.decode(body or b"{}", type=message, strict=False)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # decoded once more below, for what is rare and for a better error
    return _converted(_document(body) | parameters, message)


def from_query(query: str, parameters: dict[str, str], message: type[Message]) -> Message:
    """Take a message from the query string, where a repeated field is a list.

    Of a field that is given twice and is no list, the first counts, as in MLflow.
    """
    given = QueryParams(query)
    fields: dict[str, Any] = dict(parameters)
    for field in msgspec.structs.fields(message):
        name = field.encode_name
        if name in given:
            repeated = getattr(field.type, "__origin__", None) is list
            values = given.getlist(name)
            fields[name] = values if repeated else values[0]
    return _converted(fields, message)


def _converted(fields: dict[str, Any], message: type[Message]) -> Message:
    try:
        return msgspec.convert(fields, message, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid_field(error, fields) from error


def _document(body: bytes) -> dict[str, Any]:
    """A JSON object without its nulls."""
    try:
        given = json.loads(body or b"{}")
        if isinstance(given, str):  # MLflow's oldest clients encode twice
            given = json.loads(given)
        if given is None:
            return {}
        if isinstance(given, dict):
            return _object(given, "")
    except (ValueError, RecursionError) as error:
        raise InvalidValueError(
            f"The request body is not valid JSON: {error}", field="body"
        ) from error
    raise InvalidValueError(
        f"The request body must be a JSON object, and is of type '{type(given).__name__}'",
        field="body",
    )


def _object(given: dict[str, Any], at: str) -> dict[str, Any]:
    if any(_SURROGATE.search(key) for key in given):
        raise validation.unstorable(at.rstrip(".") or "body")
    return {key: _clean(one, f"{at}{key}") for key, one in given.items() if one is not None}


def _clean(value: Any, path: str) -> Any:
    """Leave out the nulls in objects, and refuse what JSON or UTF-8 cannot hold."""
    if isinstance(value, dict):
        return _object(value, f"{path}.")
    if isinstance(value, list):
        return [_clean(one, f"{path}[{index}]") for index, one in enumerate(value)]
    if isinstance(value, str) and _SURROGATE.search(value):
        raise validation.unstorable(path)
    if isinstance(value, float) and not math.isfinite(value):
        # Python's encoder writes bare NaN, which protobuf's mapping, and so MLflow, takes for 0.
        raise validation.invalid(
            path, value, 'JSON has no such number; write "NaN", "Infinity" or "-Infinity" in quotes'
        )
    return value


def _invalid_field(error: msgspec.ValidationError, fields: dict[str, Any]) -> InvalidValueError:
    """MLflow's words for a field that is missing or of the wrong type."""
    reason, _, path = str(error).partition(" - at `$")
    path = path.rstrip("`").lstrip(".")
    if reason.startswith("Object missing required field"):
        name = reason.split("`")[1]
        return validation.missing(f"{path}.{name}" if path else name)
    if "of length >= 1" in reason:
        return validation.missing(path)
    value = _at(fields, path)
    if reason.startswith("Expected"):
        reason = f" Hint: Value was of type '{type(value).__name__}'"
    return validation.invalid(path, value, f"{reason}.{SEE_DOCS}")


def _at(value: Any, path: str) -> Any:
    """What stands at one of msgspec's paths, such as `tags[0].key`."""
    for name, index in _STEP.findall(path):
        value = value[name] if name else value[int(index)]
    return value
