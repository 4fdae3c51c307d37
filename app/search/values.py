"""From the literal of a comparison to the value that its field is compared with."""

import re

from app.search.fields import Field
from app.search.schema import EntitySchema, FieldKind
from app.search.syntax_tree import Items, Number, Text, Value, Word

_ESCAPE = re.compile(r"\\([\\'\"nrt])")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}

_EXPECTED_TEXT = {
    FieldKind.PARAM: "Expected a quoted string value for {kind} (e.g. 'my-value'). Got value"
    " {shown}",
    FieldKind.TAG: "Expected a quoted string value for {kind} (e.g. 'my-value'). Got value {shown}",
    FieldKind.DATASET: "Expected a quoted string value for dataset attributes. Got value {shown}",
}


def read_value(schema: EntitySchema, field: Field, value: Value) -> str | float | tuple[str, ...]:
    """The value, of the type that the field takes. Raises ValueError with MLflow's message."""
    shown = value.source[:100]
    attribute_type = field.attribute.type if field.attribute else None
    if field.kind is FieldKind.METRIC:
        if isinstance(value, Number):
            return float(value.source)
        raise ValueError(f"Expected numeric value type for metric. Found {shown}")
    if field.kind is FieldKind.ATTRIBUTE and attribute_type in ("integer", "whole"):
        if isinstance(value, Number):
            return _number(value.source)
        raise ValueError(
            f"Expected numeric value type for numeric attribute: {field.written}. Found {shown}"
        )
    if attribute_type == "whole_or_text" and isinstance(value, Number | Text):
        return _whole(field, value)
    match value:
        case Text():
            return value.value
        case Word() | Number() if schema.unquoted:
            return value.source
        case Word():
            raise ValueError(
                "Parameter value is either not quoted or unidentified quote types used for string"
                f" value {shown}. Use either single or double quotes."
            )
        case Items() if _takes_lists(schema, field):
            return _strings(value)
        case Items() if field.kind is FieldKind.ATTRIBUTE:
            raise ValueError(
                f"Only {sorted(schema.listable)} attributes support comparison with a list of"
                " quoted string values."
            )
    expected = _EXPECTED_TEXT.get(field.kind, schema.messages.attribute_value)
    raise ValueError(expected.format(kind=field.kind, shown=shown))


def _takes_lists(schema: EntitySchema, field: Field) -> bool:
    if field.kind is FieldKind.ATTRIBUTE:
        return field.name in schema.listable
    return "IN" in schema.comparators[field.kind]


def _strings(value: Items) -> tuple[str, ...]:
    expected = "While parsing a list in the query, expected"
    if not value.items:
        raise ValueError(f"{expected} a non-empty list of string values, but got empty list")
    strings = []
    for item in value.items:
        match item:
            case Text():
                # MLflow undoes Python's escapes in lists, and nowhere else.
                strings.append(_ESCAPE.sub(lambda m: _ESCAPED.get(m[1], m[1]), item.value))
            case Number():
                raise ValueError(
                    f"{expected} string value, punctuation, or whitespace, but got different type"
                    f" in list: {value.source[:100]}"
                )
            case Word():
                raise ValueError(
                    f"{expected} a non-empty list of string values, but got ill-formed list."
                )
    return tuple(strings)


def _whole(field: Field, value: Number | Text) -> int:
    """A number without a fraction, quoted or not."""
    number = _number(value.source) if isinstance(value, Number) else value.value
    try:
        if not isinstance(number, float):
            return int(number)
    except ValueError:
        pass
    raise ValueError(f"Invalid value for numeric attribute '{field.name}': {number!r:.100}")


def _number(source: str) -> int | float:
    # A number of more than 40 digits is beyond every bigint, exact or not, and Python refuses to
    # read an integer of thousands of digits.
    digits = source.removeprefix("-")
    return int(source) if digits.isdecimal() and len(digits) <= 40 else float(source)
