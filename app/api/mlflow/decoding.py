"""Decoding of MLflow's messages, as lenient as protobuf's JSON mapping: numbers may be strings,
unknown fields are ignored, null means absent.
"""

import json
import math
import re
from typing import Any, TypeVar

import msgspec
from starlette.datastructures import QueryParams

from app.kernel import validation
from app.kernel.errors import InvalidValueError, TooLargeError

Message = TypeVar("Message", bound=msgspec.Struct)

SEE_DOCS = " See the API docs for more information about request parameters."
_STEP = re.compile(r"\.?(\w+)|\[(\d+)\]")
_SURROGATE = re.compile("[\ud800-\udfff]")

# Limits on what a body contains, since it costs more by that than by its bytes: the items of a
# list; the values of a body that Python checks one by one; the objects and lists of a body above
# _LARGE_BYTES.
MAX_ITEMS = 10_000
_MAX_VALUES = 20_000
_MAX_OBJECTS_AND_LISTS = 100_000
_LARGE_BYTES = 1 << 20


def decode_body(body: bytes, parameters: dict[str, str], message: type[Message]) -> Message:
    """Decode a JSON body, and take `parameters` of the path as fields; an empty body is an empty
    message.

    Raises InvalidValueError naming the field at fault, TooLargeError for a body with too many
    objects, lists or values.
    """
    if len(body) > _LARGE_BYTES and body.count(b"{") + body.count(b"[") > _MAX_OBJECTS_AND_LISTS:
        # Brackets within strings count too: to tell them apart is as expensive as decoding.
        raise TooLargeError(
            f"The request body has more than {_MAX_OBJECTS_AND_LISTS} objects and lists"
        )
    if not parameters:
        try:
            return msgspec.json.decode(body or b"{}", type=message, strict=False)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # the slow path below takes what protobuf takes too, and has better errors
    return _convert(_parse_object(body) | parameters, message)


def decode_query(query: str, parameters: dict[str, str], message: type[Message]) -> Message:
    """Decode a query string, and take `parameters` of the path as fields.

    A repeated field is a list. Of a field that is given twice and is no list, the first counts, as
    in MLflow. Raises InvalidValueError naming the field at fault.
    """
    given = QueryParams(query)
    fields: dict[str, Any] = dict(parameters)
    for field in msgspec.structs.fields(message):
        name = field.encode_name
        if name in given:
            is_list = getattr(field.type, "__origin__", None) is list
            values = given.getlist(name)
            fields[name] = values if is_list else values[0]
    return _convert(fields, message)


def check_list_lengths(message: msgspec.Struct) -> None:
    """Raises InvalidValueError for a list of more than MAX_ITEMS."""
    for name in message.__struct_fields__:
        value = getattr(message, name)
        if isinstance(value, list) and len(value) > MAX_ITEMS:
            raise InvalidValueError(
                f"'{name}' may have at most {MAX_ITEMS} items, got {len(value)}", field=name
            )


def _convert(fields: dict[str, Any], message: type[Message]) -> Message:
    try:
        return msgspec.convert(fields, message, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid_field(error, fields) from error


def _parse_object(body: bytes) -> dict[str, Any]:
    """A JSON object without its nulls."""
    try:
        given = json.loads(body or b"{}")
        if isinstance(given, str):  # MLflow's oldest clients encode twice
            given = json.loads(given)
        if given is None:
            return {}
        if isinstance(given, dict):
            _check_number_of_values(given)
            return _without_nulls(given, "")
    except (ValueError, RecursionError) as error:
        raise InvalidValueError(
            f"The request body is not valid JSON: {error}", field="body"
        ) from error
    raise InvalidValueError(
        f"The request body must be a JSON object, and is of type '{type(given).__name__}'",
        field="body",
    )


def _check_number_of_values(document: object) -> None:
    """Raises TooLargeError for a document of more than _MAX_VALUES."""
    count = 1
    pending = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, dict | list):
            count += len(value)
            if count > _MAX_VALUES:
                raise TooLargeError(f"The request body has more than {_MAX_VALUES} values")
            pending.extend(value.values() if isinstance(value, dict) else value)


def _without_nulls(given: dict[str, Any], prefix: str) -> dict[str, Any]:
    """An object without its nulls; `prefix` is its path, with a dot at the end.

    Raises InvalidValueError for what JSON or UTF-8 cannot hold.
    """
    if any(_SURROGATE.search(key) for key in given):
        raise validation.unstorable(prefix.rstrip(".") or "body")
    return {
        key: _checked_value(value, f"{prefix}{key}")
        for key, value in given.items()
        if value is not None
    }


def _checked_value(value: Any, path: str) -> Any:
    if isinstance(value, dict):
        return _without_nulls(value, f"{path}.")
    if isinstance(value, list):
        return [_checked_value(item, f"{path}[{index}]") for index, item in enumerate(value)]
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
    value = _value_at(fields, path)
    if reason.startswith("Expected"):
        reason = f" Hint: Value was of type '{type(value).__name__}'"
    return validation.invalid(path, value, f"{reason}.{SEE_DOCS}")


def _value_at(value: Any, path: str) -> Any:
    """The value at one of msgspec's paths, such as `tags[0].key`."""
    for name, index in _STEP.findall(path):
        value = value[name] if name else value[int(index)]
    return value
