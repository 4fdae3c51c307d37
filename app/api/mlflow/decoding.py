"""From a request's bytes to one of MLflow's messages, as lenient as protobuf's JSON mapping is:
numbers may be strings, unknown fields are ignored, null is as good as absent.
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

# Bounds on what a body holds, since what it costs grows with that more than with its bytes: the
# items of a list, the values that are looked at one by one, and, in what is larger than the rest,
# the objects and lists.
MAX_ITEMS = 10_000
_MAX_VALUES = 20_000
_MAX_OPENED = 100_000
_LARGE_BYTES = 1 << 20


def from_body(body: bytes, parameters: dict[str, str], message: type[Message]) -> Message:
    """Decode a JSON body; an empty one is an empty message. Raises InvalidValueError, and
    TooLargeError for one that holds more things than anybody logs."""
    if len(body) > _LARGE_BYTES and body.count(b"{") + body.count(b"[") > _MAX_OPENED:
        # Those within strings are counted, too: to leave them out would cost what this is to save.
        raise TooLargeError(f"The request body has more than {_MAX_OPENED} objects and lists")
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
            _check_count(given)
            return _object(given, "")
    except (ValueError, RecursionError) as error:
        raise InvalidValueError(
            f"The request body is not valid JSON: {error}", field="body"
        ) from error
    raise InvalidValueError(
        f"The request body must be a JSON object, and is of type '{type(given).__name__}'",
        field="body",
    )


def check_lists(message: msgspec.Struct) -> None:
    """Raises InvalidValueError for a list that is longer than any that is needed."""
    for name in message.__struct_fields__:
        value = getattr(message, name)
        if isinstance(value, list) and len(value) > MAX_ITEMS:
            raise InvalidValueError(
                f"'{name}' may have at most {MAX_ITEMS} items, got {len(value)}", field=name
            )


def _check_count(document: object) -> None:
    """Raises TooLargeError for more values than are looked at one by one."""
    count = 1
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list):
            count += len(value)
            if count > _MAX_VALUES:
                raise TooLargeError(f"The request body has more than {_MAX_VALUES} values")
            waiting.extend(value.values() if isinstance(value, dict) else value)


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
