"""From the syntax tree of a filter to SQL: the one compiler for all entities."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement

from app.kernel.tenant import Tenant
from app.search import predicates
from app.search.entities import Attribute, Entity, Kind
from app.search.exists import Conditions, Lookup
from app.search.predicates import MEMBERSHIP, NULLNESS, Predicate
from app.search.syntax_tree import (
    Comparison,
    Filter,
    Identifier,
    Items,
    Number,
    Source,
    Text,
    Value,
    Word,
)

DATASET_KEYS = ("context", "digest", "name")

# An identifier without special characters outside of quotes. Possessive: quotes can be paired in
# many ways, and trying them all would take forever.
_STRICT = re.compile(
    r"""(?:[\w.]|`(?:``|[^`])*`|"(?:""|\\"|[^"])*"|'(?:''|\\'|[^'])*'|\[[^\]\[]+\])*+"""
)
_ESCAPE = re.compile(r"\\([\\'\"nrt])")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True, slots=True)
class Key:
    """What an identifier stands for; `attribute` is set where it is one value of the entity.

    `written` is the name before aliases were resolved.
    """

    kind: Kind
    name: str
    attribute: Attribute | None
    written: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class _Operand:
    """A comparison with its key known and its value read."""

    comparison: Comparison
    key: Key
    value: str | float | Sequence[str] | None


def conditions(tenant: Tenant, entity: Entity, filter: Filter) -> list[ColumnElement[bool]]:
    """What must hold of the entity's table. Raises InvalidValueError(field="filter")."""
    return compiled(tenant, entity, filter).of(tenant, entity.id)


def compiled(tenant: Tenant, entity: Entity, filter: Filter) -> Conditions:
    """The filter in SQL. Raises InvalidValueError(field="filter").

    For most entities MLflow reads all values before it checks the first comparator; so do we, so
    that of two mistakes the same one is reported.
    """
    operands = [_operand(entity, filter.source, each) for each in filter.comparisons]
    attributes: list[ColumnElement[bool]] = []
    for each in operands:
        _check_comparator(entity, filter.source, each.comparison, each.key)
        _check_list(filter.source, each)
        if each.key.attribute:
            attributes.append(_of_attribute(tenant, filter.source, each))
    return Conditions(attributes, _lookups(entity, operands))


def _lookups(entity: Entity, operands: Sequence[_Operand]) -> list[Lookup]:
    """All that is asked of a row that is there once is asked at once."""
    merged: dict[Key, list[_Operand]] = {}
    found: list[Lookup] = []
    for each in operands:
        if each.key.attribute:
            continue
        attached = entity.attached[each.key.kind]
        comparator = each.comparison.comparator
        if comparator == "IS NULL" or not attached.unique:
            found.append(
                Lookup(attached, each.key.name, _predicates([each]), comparator != "IS NULL")
            )
        else:
            merged.setdefault(each.key, []).append(each)
    for key, asked in merged.items():
        texts = [
            each.value
            for each in asked
            if each.comparison.comparator == "=" and isinstance(each.value, str)
        ]
        equal = texts[0] if texts else None
        found.append(Lookup(entity.attached[key.kind], key.name, _predicates(asked), equal=equal))
    return found


def _predicates(operands: Sequence[_Operand]) -> tuple[Predicate, ...]:
    return tuple(
        _predicate(each) for each in operands if each.comparison.comparator not in NULLNESS
    )


def key_of(entity: Entity, source: Source, identifier: Identifier, *, order: bool = False) -> Key:
    """The meaning of an identifier in a filter, or in an order. Raises InvalidValueError."""
    text, at = identifier.text, identifier.at
    if not entity.unquoted and not _STRICT.fullmatch(text):
        hint = "put a name with special characters in backticks"
        if order:
            problem = f"Invalid order_by clause '{source.text[:100]}'. Could not be parsed."
        else:
            problem = f"Invalid comparison clause. Expected 'Identifier' found '{text[:100]}'"
        raise source.error(f"{problem}; {hint}", at)
    prefix, dot, rest = text.partition(".")
    if not dot:
        prefix, rest = "", text
    name = _unquoted(rest, "'\"")
    name = _unquoted(name, "`")
    kind = entity.prefixes.get(_unquoted(prefix, "`")) if dot else Kind.ATTRIBUTE
    if kind is None:
        raise source.error(entity.wording.prefix.format(prefix=prefix[:100]), at)
    match kind:
        case Kind.ATTRIBUTE:
            names = entity.orders if order else entity.attributes
            if name not in names:
                called = entity.wording.order_key if order else "attribute"
                raise source.error(_unknown(called, name, names), at)
            attribute = names[name]
            return Key(kind, attribute.name, attribute, name)
        case Kind.DATASET if name not in DATASET_KEYS:
            raise source.error(_unknown("dataset", name, DATASET_KEYS), at)
        case Kind.TAG:
            return Key(kind, name, entity.tags.get(name), name)
    return Key(kind, name, None, name)


def _operand(entity: Entity, source: Source, comparison: Comparison) -> _Operand:
    key = key_of(entity, source, comparison.identifier)
    if comparison.value is None or entity.comparators_first:
        _check_comparator(entity, source, comparison, key)
    if comparison.value is None:
        return _Operand(comparison, key, None)
    try:
        value = _value(entity, key, comparison.value)
    except ValueError as error:
        raise source.error(str(error), comparison.value.at) from None
    return _Operand(comparison, key, value)


def _of_attribute(tenant: Tenant, source: Source, operand: _Operand) -> ColumnElement[bool]:
    attribute = operand.key.attribute
    assert attribute is not None
    expression = attribute.expression(tenant)
    comparator, value = operand.comparison.comparator, operand.value
    if comparator in NULLNESS:
        return expression.is_(None) if comparator == "IS NULL" else expression.is_not(None)
    match attribute.type, value:
        case "whole", float():
            assert operand.comparison.value is not None
            raise source.error(
                f"Invalid value for numeric attribute '{attribute.name}': '{value}'",
                operand.comparison.value.at,
            )
        case "integer" | "whole" | "whole_or_text", int() | float():
            return predicates.integer(comparator, value)(expression)
        case "run_id", str() | tuple():
            return predicates.run_id(comparator, value)(expression)
        case "experiment_id", str():
            return predicates.integer(comparator, _experiment_id(source, operand, value))(
                expression
            )
        case "experiment_id", tuple():
            ids = [_experiment_id(source, operand, each) for each in value]
            return predicates.integers(comparator, ids)(expression)
        case _:
            return _predicate(operand)(expression)


def _predicate(operand: _Operand) -> Predicate:
    comparator = operand.comparison.comparator
    match operand.value:
        case int() | float():
            return predicates.real(comparator, operand.value)
        case str() | tuple():
            return predicates.text(comparator, operand.value)
        case _:
            raise AssertionError(operand)


def _experiment_id(source: Source, operand: _Operand, text: str) -> int:
    # Python refuses to read a number of thousands of digits; none that long is an id.
    try:
        return int(text)
    except ValueError:
        assert operand.comparison.value is not None
        raise source.error(
            f"Invalid experiment ID '{text[:100]}'. Experiment ID must be a valid integer.",
            operand.comparison.value.at,
        ) from None


# --- values -------------------------------------------------------------------------------------


def _value(entity: Entity, key: Key, value: Value) -> str | float | tuple[str, ...]:
    """What a key is compared with. Raises ValueError with MLflow's words."""
    shown = value.source[:100]
    if key.kind is Kind.METRIC:
        if isinstance(value, Number):
            return float(value.source)
        raise ValueError(f"Expected numeric value type for metric. Found {shown}")
    if key.kind is Kind.ATTRIBUTE and key.attribute and key.attribute.type in ("integer", "whole"):
        if isinstance(value, Number):
            return _number(value.source)
        raise ValueError(
            f"Expected numeric value type for numeric attribute: {key.written}. Found {shown}"
        )
    if key.attribute is not None and key.attribute.type == "whole_or_text":
        match value:
            case Number() | Text():
                return _whole(key, value)
    match value:
        case Text():
            return value.value
        case Word() | Number() if entity.unquoted:
            return value.source
        case Word():
            raise ValueError(
                "Parameter value is either not quoted or unidentified quote types used for string"
                f" value {shown}. Use either single or double quotes."
            )
        case Items() if _takes_lists(entity, key):
            return _strings(value)
        case Items() if key.kind is Kind.ATTRIBUTE:
            raise ValueError(
                f"Only {sorted(entity.listable)} attributes support comparison with a list of"
                " quoted string values."
            )
    expected = _EXPECTED_TEXT.get(key.kind, entity.wording.attribute)
    raise ValueError(expected.format(kind=key.kind, shown=shown))


_EXPECTED_TEXT = {
    Kind.PARAM: "Expected a quoted string value for {kind} (e.g. 'my-value'). Got value {shown}",
    Kind.TAG: "Expected a quoted string value for {kind} (e.g. 'my-value'). Got value {shown}",
    Kind.DATASET: "Expected a quoted string value for dataset attributes. Got value {shown}",
}


def _takes_lists(entity: Entity, key: Key) -> bool:
    if key.kind is Kind.ATTRIBUTE:
        return key.name in entity.listable
    return "IN" in entity.comparators[key.kind]


def _strings(value: Items) -> tuple[str, ...]:
    expected = "While parsing a list in the query, expected"
    if not value.items:
        raise ValueError(f"{expected} a non-empty list of string values, but got empty list")
    found = []
    for item in value.items:
        match item:
            case Text():
                # In a list, and only there, MLflow reads a string as Python does.
                found.append(_ESCAPE.sub(lambda m: _ESCAPED.get(m[1], m[1]), item.value))
            case Number():
                raise ValueError(
                    f"{expected} string value, punctuation, or whitespace, but got different type"
                    f" in list: {value.source[:100]}"
                )
            case Word():
                raise ValueError(
                    f"{expected} a non-empty list of string values, but got ill-formed list."
                )
    return tuple(found)


def _whole(key: Key, value: Number | Text) -> int:
    """A number that may be quoted, but has no fraction."""
    number = _number(value.source) if isinstance(value, Number) else value.value
    try:
        if not isinstance(number, float):
            return int(number)
    except ValueError:
        pass
    raise ValueError(f"Invalid value for numeric attribute '{key.name}': {number!r:.100}")


def _number(source: str) -> int | float:
    # Beyond 40 digits no bigint is left to be told apart, and Python refuses to read thousands.
    digits = source.removeprefix("-")
    return int(source) if digits.isdecimal() and len(digits) <= 40 else float(source)


# --- names and errors ---------------------------------------------------------------------------


def _unquoted(text: str, quotes: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in quotes else text


def _unknown(kind: str, name: str, valid: object) -> str:
    keys = ", ".join(repr(each) for each in sorted(valid))  # type: ignore[call-overload]
    return f"Invalid {kind} key '{name[:100]}' specified. Valid keys are '{{{keys}}}'"


# In the order in which errors list them.
_COMPARATORS = ("<", "<=", ">", ">=", "=", "!=", "LIKE", "ILIKE", "IN", "NOT IN", *sorted(NULLNESS))
_PLURAL = {"attribute": "attributes", "metric": "metrics", "parameter": "params", "tag": "tags"}


def _check_comparator(entity: Entity, source: Source, comparison: Comparison, key: Key) -> None:
    allowed = entity.comparators.get(key.kind, frozenset())
    if key.kind is Kind.ATTRIBUTE and key.attribute is not None:
        allowed = key.attribute.comparators
    if comparison.comparator in allowed:
        return
    nullness = comparison.comparator in NULLNESS
    template = entity.wording.nullness if nullness else entity.wording.comparator
    message = template.format(
        comparator=comparison.comparator[:100],
        allowed=", ".join(repr(each) for each in _COMPARATORS if each in allowed),
        kind=_PLURAL[key.kind] if entity.unquoted else key.kind.value,
        key=key.name[:100],
        written=key.written[:100],
    )
    raise source.error(message, comparison.comparator_at)


def _check_list(source: Source, operand: _Operand) -> None:
    """MLflow leaves `name = ('a', 'b')` to its database, which fails."""
    comparison = operand.comparison
    if isinstance(operand.value, tuple) and comparison.comparator not in MEMBERSHIP:
        raise source.error(
            f"Invalid comparator '{comparison.comparator}' for a list: use IN or NOT IN",
            comparison.comparator_at,
        )
